// Asks every case of the table through OpenFeature's Java SDK; a line of JSON for each.

import com.fasterxml.jackson.databind.ObjectMapper;
import com.google.common.collect.ImmutableList;
import com.google.common.collect.ImmutableMap;
import dev.openfeature.contrib.providers.ofrep.OfrepProvider;
import dev.openfeature.contrib.providers.ofrep.OfrepProviderOptions;
import dev.openfeature.sdk.FlagEvaluationDetails;
import dev.openfeature.sdk.ImmutableContext;
import dev.openfeature.sdk.OpenFeatureAPI;
import dev.openfeature.sdk.Structure;
import dev.openfeature.sdk.Value;
import java.io.File;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

public final class Client {
    private static final ObjectMapper JSON = new ObjectMapper();

    public static void main(String[] arguments) throws Exception {
        var options = OfrepProviderOptions.builder().baseUrl(arguments[0]);
        var token = System.getenv("BETAGATE_TOKEN");
        if (token != null) {
            options.headers(ImmutableMap.of("Authorization", ImmutableList.of("Bearer " + token)));
        }
        OpenFeatureAPI.getInstance().setProviderAndWait(OfrepProvider.constructProvider(options.build()));
        var table = (Map<?, ?>) JSON.readValue(new File(arguments[1]), Map.class);
        for (Object asked : (List<?>) table.get("cases")) {
            System.out.println(JSON.writeValueAsString(answer((Map<?, ?>) asked)));
        }
        System.exit(0);
    }

    private static Map<String, Object> answer(Map<?, ?> asked) {
        var details = ask(asked);
        var line = new LinkedHashMap<String, Object>();
        line.put("name", asked.get("name"));
        line.put("value", details.getValue() instanceof Value value ? plain(value) : details.getValue());
        line.put("variant", details.getVariant());
        line.put("reason", details.getReason());
        line.put("error", details.getErrorCode());
        line.put("message", details.getErrorMessage());
        line.put("metadata", details.getFlagMetadata() == null ? null : details.getFlagMetadata().asUnmodifiableMap());
        return line;
    }

    private static FlagEvaluationDetails<?> ask(Map<?, ?> asked) {
        var client = OpenFeatureAPI.getInstance().getClient();
        var flag = (String) asked.get("flag");
        var otherwise = asked.get("default");
        var context = context((Map<?, ?>) asked.get("context"));
        return switch ((String) asked.get("type")) {
            case "boolean" -> client.getBooleanDetails(flag, (Boolean) otherwise, context);
            case "string" -> client.getStringDetails(flag, (String) otherwise, context);
            case "integer" -> client.getIntegerDetails(flag, ((Number) otherwise).intValue(), context);
            case "float" -> client.getDoubleDetails(flag, ((Number) otherwise).doubleValue(), context);
            default -> client.getObjectDetails(flag, value(otherwise), context);
        };
    }

    private static ImmutableContext context(Map<?, ?> fields) {
        var attributes = new HashMap<String, Value>();
        fields.forEach((name, field) -> attributes.put((String) name, value(field)));
        return fields.get("targetingKey") instanceof String key ? new ImmutableContext(key, attributes) : new ImmutableContext(attributes);
    }

    private static Value value(Object plain) {
        return Value.objectToValue(plain);
    }

    /** The SDK's own types as plain ones. */
    private static Object plain(Value value) {
        if (value.isStructure()) {
            Structure structure = value.asStructure();
            var fields = new LinkedHashMap<String, Object>();
            structure.asMap().forEach((name, field) -> fields.put(name, plain(field)));
            return fields;
        }
        return value.isList() ? value.asList().stream().map(Client::plain).toList() : value.asObject();
    }
}
