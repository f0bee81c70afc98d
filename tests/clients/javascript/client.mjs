// Asks every case of the table with ofrep-core's OFREPApi, one flag at a time; a line of JSON for each.

import { readFileSync } from 'node:fs';
import { OFREPApi, OFREPApiError, handleEvaluationError, isEvaluationFailureResponse, toResolutionDetails } from '@openfeature/ofrep-core';

const [base, table] = process.argv.slice(2);
const { cases } = JSON.parse(readFileSync(table, 'utf8'));
const token = process.env.BETAGATE_TOKEN;
const api = new OFREPApi({ baseUrl: base, headers: token ? [['Authorization', `Bearer ${token}`]] : [] });
const kinds = { boolean: 'boolean', string: 'string', integer: 'number', float: 'number', object: 'object' };

async function ask(asked) {
  try {
    const { value: answer } = await api.postEvaluateFlag(asked.flag, { context: asked.context });
    return isEvaluationFailureResponse(answer)
      ? handleEvaluationError(answer, asked.default)
      : toResolutionDetails(answer, asked.default);
  } catch (error) {
    // What the core throws, the SDK turns into its general error and the program's default.
    if (!(error instanceof OFREPApiError)) throw error;
    return { value: asked.default, errorCode: 'GENERAL', errorMessage: error.message };
  }
}

for (const asked of cases) {
  const details = await ask(asked);
  // The types are for whoever calls OFREPApi to compare, as the SDK does.
  const mismatch = !details.errorCode && typeof details.value !== kinds[asked.type];
  console.log(JSON.stringify({
    name: asked.name,
    value: mismatch ? asked.default : details.value,
    variant: details.variant,
    reason: details.reason,
    error: mismatch ? 'TYPE_MISMATCH' : details.errorCode,
    message: details.errorMessage,
    metadata: details.flagMetadata,
  }));
}
