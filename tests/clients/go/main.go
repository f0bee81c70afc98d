// Asks every case of the table through OpenFeature's Go SDK; a line of JSON for each.
package main

import (
	"context"
	"encoding/json"
	"log"
	"os"

	"github.com/open-feature/go-sdk-contrib/providers/ofrep"
	"github.com/open-feature/go-sdk/openfeature"
)

type asked struct {
	Name    string         `json:"name"`
	Flag    string         `json:"flag"`
	Type    string         `json:"type"`
	Default any            `json:"default"`
	Context map[string]any `json:"context"`
}

type answered struct {
	Name     string         `json:"name"`
	Value    any            `json:"value"`
	Variant  string         `json:"variant"`
	Reason   string         `json:"reason"`
	Error    string         `json:"error"`
	Message  string         `json:"message"`
	Metadata map[string]any `json:"metadata"`
}

func contextOf(fields map[string]any) openfeature.EvaluationContext {
	key, isText := fields["targetingKey"].(string)
	if isText {
		delete(fields, "targetingKey")
		return openfeature.NewEvaluationContext(key, fields)
	}
	return openfeature.NewTargetlessEvaluationContext(fields)
}

func ask(client *openfeature.Client, c asked) answered {
	var value any
	var details openfeature.EvaluationDetails
	ctx, fields := context.Background(), contextOf(c.Context)
	// An error is in the details too.
	switch c.Type {
	case "boolean":
		d, _ := client.BooleanValueDetails(ctx, c.Flag, c.Default.(bool), fields)
		value, details = d.Value, d.EvaluationDetails
	case "string":
		d, _ := client.StringValueDetails(ctx, c.Flag, c.Default.(string), fields)
		value, details = d.Value, d.EvaluationDetails
	case "integer":
		d, _ := client.IntValueDetails(ctx, c.Flag, int64(c.Default.(float64)), fields)
		value, details = d.Value, d.EvaluationDetails
	case "float":
		d, _ := client.FloatValueDetails(ctx, c.Flag, c.Default.(float64), fields)
		value, details = d.Value, d.EvaluationDetails
	default:
		d, _ := client.ObjectValueDetails(ctx, c.Flag, c.Default, fields)
		value, details = d.Value, d.EvaluationDetails
	}
	return answered{c.Name, value, details.Variant, string(details.Reason), string(details.ErrorCode), details.ErrorMessage, details.FlagMetadata}
}

func main() {
	text, err := os.ReadFile(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	var table struct {
		Cases []asked `json:"cases"`
	}
	if err := json.Unmarshal(text, &table); err != nil {
		log.Fatal(err)
	}
	var options []ofrep.Option
	if token := os.Getenv("BETAGATE_TOKEN"); token != "" {
		options = append(options, ofrep.WithBearerToken(token))
	}
	if err := openfeature.SetProviderAndWait(ofrep.NewProvider(os.Args[1], options...)); err != nil {
		log.Fatal(err)
	}
	client := openfeature.NewClient("cases")
	out := json.NewEncoder(os.Stdout)
	for _, c := range table.Cases {
		if err := out.Encode(ask(client, c)); err != nil {
			log.Fatal(err)
		}
	}
}
