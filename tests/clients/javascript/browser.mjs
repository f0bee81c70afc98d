// What a page has and Node.js lacks: local storage, and an event source that is good enough for one stream.

export class Storage {
  #items = new Map();
  getItem = (key) => this.#items.get(key) ?? null;
  setItem = (key, value) => void this.#items.set(key, String(value));
  removeItem = (key) => void this.#items.delete(key);
  get length() { return this.#items.size; }
}

export class EventSource extends EventTarget {
  static CLOSED = 2;
  readyState = 0;
  #stop = new AbortController();

  constructor(url) {
    super();
    this.url = url;
    this.#read().catch((error) => this.readyState !== 2 && this.#say(new Event('error', { cause: error })));
  }

  #say(event) {
    this.dispatchEvent(event);
    this[`on${event.type}`]?.(event);
  }

  async #read() {
    const response = await fetch(this.url, { headers: { accept: 'text/event-stream' }, signal: this.#stop.signal });
    this.readyState = 1;
    this.#say(new Event('open'));
    let text = '';
    for await (const part of response.body.pipeThrough(new TextDecoderStream())) {
      const blocks = (text += part).split('\n\n');
      text = blocks.pop();
      for (const block of blocks) this.#take(block);
    }
  }

  #take(block) {
    const fields = Object.fromEntries(block.split('\n').filter((line) => !line.startsWith(':')).map((line) => {
      const [name, ...rest] = line.split(':');
      return [name, rest.join(':').replace(/^ /, '')];
    }));
    if (fields.data !== undefined) this.#say(new MessageEvent(fields.event ?? 'message', { data: fields.data, lastEventId: fields.id }));
  }

  close() {
    this.readyState = 2;
    this.#stop.abort();
  }
}
