// Asks every case of the table as a page does: all flags at once with the web provider, a line of JSON for each. Then what only a page
// does: keeping answers across loads, polling with If-None-Match, and asking again when an event says so.

import { readFileSync } from 'node:fs';
import { OpenFeature, ProviderEvents } from '@openfeature/web-sdk';
import { OFREPWebProvider } from '@openfeature/ofrep-web-provider';
import { EventSource, Storage } from './browser.mjs';

const [base, table] = process.argv.slice(2);
const { cases } = JSON.parse(readFileSync(table, 'utf8'));
const say = (line) => console.log(JSON.stringify(line));
globalThis.localStorage = new Storage();
globalThis.EventSource = EventSource;

async function everyCase() {
  await OpenFeature.setContext({ targetingKey: 'u1' });
  await OpenFeature.setProviderAndWait(new OFREPWebProvider({ baseUrl: base, cacheMode: 'disabled', changeDetection: 'none' }));
  const client = OpenFeature.getClient();
  const ask = {
    boolean: (flag, otherwise) => client.getBooleanDetails(flag, otherwise),
    string: (flag, otherwise) => client.getStringDetails(flag, otherwise),
    integer: (flag, otherwise) => client.getNumberDetails(flag, otherwise),
    float: (flag, otherwise) => client.getNumberDetails(flag, otherwise),
    object: (flag, otherwise) => client.getObjectDetails(flag, otherwise),
  };
  let failed = null;
  client.addHandler(ProviderEvents.Error, (event) => { failed = event?.message ?? 'failed'; });
  for (const asked of cases) {
    failed = null;
    await OpenFeature.setContext(asked.context);
    const details = ask[asked.type](asked.flag, asked.default);
    // A context that is wrong is refused for all flags at once: the provider says so in an event, and keeps what it had.
    say({
      name: asked.name,
      value: failed === null ? details.value : asked.default,
      variant: details.variant,
      reason: details.reason,
      error: failed === null ? details.errorCode : /^(\w+)Error:/.exec(failed)?.[1].toUpperCase(),
      message: failed ?? details.errorMessage,
      metadata: details.flagMetadata,
    });
  }
  await OpenFeature.clearProviders();
}

// Each fetch with its status, so that what a browser's console would show can be checked.
function counting() {
  const seen = [];
  const fetching = async (request, options) => {
    const response = await fetch(request, options);
    seen.push({ status: response.status, tag: request.headers.get('if-none-match'), url: request.url });
    return response;
  };
  return { seen, fetching };
}

// Waits for what is to come; gives up after a while.
function until(what, holds) {
  return new Promise((resolve, reject) => {
    const stop = setTimeout(() => { clearInterval(look); reject(new Error(`never seen: ${what}`)); }, 20_000);
    const look = setInterval(() => {
      if (!holds()) return;
      clearTimeout(stop);
      clearInterval(look);
      resolve();
    }, 20);
  });
}

async function check(name, body) {
  try {
    await body();
    say({ check: name, ok: true });
  } catch (error) {
    say({ check: name, ok: false, message: String(error) });
  }
}

const assert = (holds, what) => { if (!holds) throw new Error(what); };

async function aProvider(options, domain) {
  const { seen, fetching } = counting();
  const provider = new OFREPWebProvider({ baseUrl: base, fetchImplementation: fetching, ...options });
  await OpenFeature.setProviderAndWait(domain, provider, { targetingKey: 'u1' });
  return { provider, seen, client: OpenFeature.getClient(domain) };
}

await everyCase();

await check('polling an unchanged configuration gets 304 without a body, and goes on answering', async () => {
  const { seen, client } = await aProvider({ cacheMode: 'disabled', changeDetection: 'polling', pollInterval: 50 }, 'polling');
  await until('three polls', () => seen.length >= 4);
  const [first, ...polls] = seen;
  assert(first.status === 200 && first.tag === null, `the first answer is whole: ${JSON.stringify(first)}`);
  assert(polls.every((poll) => poll.status === 304 && /^(W\/)?"[^"]+"$/.test(poll.tag)), `polls: ${JSON.stringify(polls)}`);
  assert(client.getNumberValue('integer-plain', 0) === 42, 'the answers of before');
});

await check('answers kept in local storage are served at once, and found to be unchanged', async () => {
  await aProvider({ changeDetection: 'none' }, 'kept');
  assert(localStorage.length === 1, 'one entry is kept');
  const { seen, client } = await aProvider({ changeDetection: 'none' }, 'kept');
  const details = client.getNumberDetails('integer-plain', 0);
  assert(details.value === 42 && details.reason === 'CACHED', JSON.stringify(details));
  await until('the background request', () => seen.length === 1);
  assert(seen[0].status === 304 && seen[0].tag, JSON.stringify(seen));
});

await check('another person gets answers of their own under another tag', async () => {
  const { seen, client } = await aProvider({ cacheMode: 'disabled', changeDetection: 'none' }, 'person');
  await OpenFeature.setContext('person', { targetingKey: 'u8' });
  assert(client.getStringDetails('split', '-').variant === 'green', 'u8 is green');
  assert(seen.length === 2 && seen[1].status === 200, JSON.stringify(seen));
  await OpenFeature.setContext('person', { targetingKey: 'u8', plan: 'pro' });
  assert(client.getStringDetails('plan', '-').variant === 'pro', 'what the context says counts');
  assert(seen[2].status === 200 && seen[2].tag, `same person, another context: ${JSON.stringify(seen[2])}`);
});

await check('a change is told by an event, asked for with the freshness it names, and served', async () => {
  const { seen, client } = await aProvider({ cacheMode: 'disabled', changeDetection: 'sse' }, 'events');
  const changes = [];
  client.addHandler(ProviderEvents.ConfigurationChanged, (event) => changes.push(...(event?.flagsChanged ?? [])));
  assert(client.getStringValue('changing', '-') === 'before', `before: ${client.getStringValue('changing', '-')}`);
  // The runner changes the flag when it reads this line.
  say({ please: 'change' });
  await until('the change', () => changes.includes('changing'));
  assert(client.getStringValue('changing', '-') === 'after', 'the new value is served');
  const again = seen.at(-1);
  assert(again.status === 200 && /flagConfigEtag=/.test(again.url) && /flagConfigLastModified=\d+/.test(again.url), JSON.stringify(again));
});

await OpenFeature.clearProviders();
process.exit(0);
