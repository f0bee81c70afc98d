// Answers cases, one JSON line each, as @openfeature/flagd-core does.
import { createInterface } from 'node:readline';
import { FlagdCore } from '@openfeature/flagd-core';

const quiet = { error() {}, warn() {}, info() {}, debug() {} };
console.log = () => {}; // the operator `log` writes there

function answer({ flags, key, type, context }) {
  const core = new FlagdCore(undefined, quiet);
  try {
    core.setConfigurations(JSON.stringify(flags));
  } catch {
    return { errorCode: 'PARSE_ERROR' };
  }
  const ask = { boolean: 'resolveBooleanEvaluation', string: 'resolveStringEvaluation', integer: 'resolveNumberEvaluation', float: 'resolveNumberEvaluation', object: 'resolveObjectEvaluation' }[type];
  const { value, variant, reason, errorCode } = core[ask](key, null, context, quiet);
  return errorCode ? { errorCode } : { value, variant: variant ?? '', reason };
}

for await (const line of createInterface({ input: process.stdin })) process.stdout.write(`${JSON.stringify(answer(JSON.parse(line)))}\n`);
