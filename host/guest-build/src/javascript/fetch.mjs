// Made by `patchbay policy build`, for a policy with imports = ["http"]: `fetch`, and what `await` needs.
//
// The router suspends the hook while it asks, so that each request is over when `fetch` returns. The engine runs no job of a promise after a
// hook; therefore promises are those from here, async functions are made of them by the bundler, and what waits in them runs before the
// hook ends.

import { fetch as ask } from 'patchbay:policy/http@0.1.0';

const jobs = [];

class HookPromise {
  #state = 'pending';
  #value;
  #waiting = [];

  constructor(executor) {
    const { resolve, reject } = this.#resolvers();
    try {
      executor(resolve, reject);
    } catch (error) {
      reject(error);
    }
  }

  // Of the two the first call counts.
  #resolvers() {
    let called = false;
    const once = (act) => (value) => {
      if (called) return;
      called = true;
      act(value);
    };
    return { resolve: once((value) => this.#follow(value)), reject: once((error) => this.#settle('rejected', error)) };
  }

  #follow(value) {
    if (value === this) return this.#settle('rejected', new TypeError('a promise waits for itself'));
    let then;
    try {
      then = Object(value) === value ? value.then : undefined;
    } catch (error) {
      return this.#settle('rejected', error);
    }
    if (typeof then !== 'function') return this.#settle('fulfilled', value);
    jobs.push(() => {
      const { resolve, reject } = this.#resolvers();
      try {
        then.call(value, resolve, reject);
      } catch (error) {
        reject(error);
      }
    });
  }

  #settle(state, value) {
    this.#state = state;
    this.#value = value;
    jobs.push(...this.#waiting.splice(0));
  }

  then(fulfilled, rejected) {
    return new HookPromise((resolve, reject) => {
      const job = () => {
        const handler = this.#state === 'fulfilled' ? fulfilled : rejected;
        if (typeof handler !== 'function') return this.#state === 'fulfilled' ? resolve(this.#value) : reject(this.#value);
        try {
          resolve(handler(this.#value));
        } catch (error) {
          reject(error);
        }
      };
      if (this.#state === 'pending') this.#waiting.push(job);
      else jobs.push(job);
    });
  }

  catch(rejected) {
    return this.then(undefined, rejected);
  }

  finally(act) {
    return this.then(
      (value) => HookPromise.resolve(act()).then(() => value),
      (error) => HookPromise.resolve(act()).then(() => { throw error; }),
    );
  }

  static resolve(value) {
    return value instanceof HookPromise ? value : new HookPromise((resolve) => resolve(value));
  }

  static reject(error) {
    return new HookPromise((_, reject) => reject(error));
  }

  static withResolvers() {
    let resolvers;
    const promise = new HookPromise((resolve, reject) => { resolvers = { resolve, reject }; });
    return { promise, ...resolvers };
  }

  static all(values) {
    return HookPromise.#each(values, (promise, keep, reject) => promise.then(keep, reject));
  }

  static allSettled(values) {
    return HookPromise.#each(values, (promise, keep) => promise.then(
      (value) => keep({ status: 'fulfilled', value }),
      (reason) => keep({ status: 'rejected', reason }),
    ));
  }

  static any(values) {
    const errors = HookPromise.#each(values, (promise, keep, found) => promise.then(found, keep));
    // The first value is how the list of errors ends early.
    return errors.then((list) => { throw new AggregateError(list, 'every promise was rejected'); }, (value) => value);
  }

  static race(values) {
    return new HookPromise((resolve, reject) => {
      for (const value of values) HookPromise.resolve(value).then(resolve, reject);
    });
  }

  static #each(values, wait) {
    return new HookPromise((resolve, reject) => {
      const promises = [...values].map((value) => HookPromise.resolve(value));
      const results = [];
      let missing = promises.length;
      if (missing === 0) resolve(results);
      promises.forEach((promise, index) => wait(promise, (result) => {
        results[index] = result;
        missing -= 1;
        if (missing === 0) resolve(results);
      }, reject));
    });
  }
}

/** What a hook returned, when it is no promise any more. */
export function settled(value) {
  let outcome = typeof value?.then === 'function' ? undefined : { value };
  if (outcome === undefined) value.then((result) => { outcome = { value: result }; }, (error) => { outcome = { error }; });
  while (jobs.length > 0) jobs.shift()();
  if (outcome === undefined) throw new Error('the hook waits for something that never comes');
  if ('error' in outcome) throw outcome.error;
  return outcome.value;
}

function encoded(text) {
  const bytes = [];
  for (const character of text.isWellFormed() ? text : text.toWellFormed()) {
    const code = character.codePointAt(0);
    if (code < 0x80) bytes.push(code);
    else if (code < 0x800) bytes.push(0xc0 | code >> 6, 0x80 | code & 63);
    else if (code < 0x10000) bytes.push(0xe0 | code >> 12, 0x80 | code >> 6 & 63, 0x80 | code & 63);
    else bytes.push(0xf0 | code >> 18, 0x80 | code >> 12 & 63, 0x80 | code >> 6 & 63, 0x80 | code & 63);
  }
  return Uint8Array.from(bytes);
}

// The least code of as many bytes: a longer form than is needed is none.
const LEAST = [0, 0, 0x80, 0x800, 0x10000];

function decoded(bytes) {
  let text = '';
  for (let at = 0; at < bytes.length;) {
    const first = bytes[at];
    const length = first < 0x80 ? 1 : first < 0xc0 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf8 ? 4 : 0;
    let code = length === 1 ? first : first & 0x7f >> length;
    let end = at + 1;
    while (end < at + length && (bytes[end] & 0xc0) === 0x80) {
      code = code << 6 | bytes[end] & 63;
      end += 1;
    }
    const isOne = length > 0 && end === at + length && code >= LEAST[length] && code < 0x110000 && (code < 0xd800 || code > 0xdfff);
    text += isOne ? String.fromCodePoint(code) : '\ufffd';
    at = end;
  }
  return text;
}

class Headers {
  #entries = [];

  constructor(from = []) {
    const entries = typeof from[Symbol.iterator] === 'function' ? from : Object.entries(from);
    for (const [name, value] of entries) this.append(name, value);
  }

  append(name, value) {
    this.#entries.push([`${name}`.toLowerCase(), `${value}`.trim()]);
  }

  delete(name) {
    const lower = `${name}`.toLowerCase();
    this.#entries = this.#entries.filter(([other]) => other !== lower);
  }

  get(name) {
    const lower = `${name}`.toLowerCase();
    const values = this.#entries.filter(([other]) => other === lower).map(([, value]) => value);
    return values.length > 0 ? values.join(', ') : null;
  }

  has(name) {
    return this.get(name) !== null;
  }

  set(name, value) {
    this.delete(name);
    this.append(name, value);
  }

  forEach(act) {
    for (const [name, value] of this) act(value, name, this);
  }

  * entries() {
    yield* this.#entries;
  }

  * keys() {
    for (const [name] of this.#entries) yield name;
  }

  * values() {
    for (const [, value] of this.#entries) yield value;
  }

  [Symbol.iterator]() {
    return this.entries();
  }
}

class Response {
  #body;

  constructor(url, { status, headers, body }) {
    this.url = url;
    this.status = status;
    this.ok = status >= 200 && status < 300;
    this.statusText = '';
    this.redirected = false;
    this.type = 'basic';
    this.headers = new Headers(headers);
    this.bodyUsed = false;
    this.#body = body;
  }

  async bytes() {
    if (this.bodyUsed) throw new TypeError('the body has been read');
    this.bodyUsed = true;
    return this.#body;
  }

  async arrayBuffer() {
    const bytes = await this.bytes();
    return bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength);
  }

  async text() {
    return decoded(await this.bytes());
  }

  async json() {
    return JSON.parse(await this.text());
  }
}

// The only signal there is: nothing else happens while a hook waits.
class AbortSignal {
  static timeout(milliseconds) {
    const signal = new AbortSignal();
    signal.milliseconds = milliseconds;
    return signal;
  }
}

function bytesOf(body) {
  if (body === undefined || body === null) return new Uint8Array();
  if (body instanceof Uint8Array) return body;
  if (body instanceof ArrayBuffer) return new Uint8Array(body);
  if (ArrayBuffer.isView(body)) return new Uint8Array(body.buffer, body.byteOffset, body.byteLength);
  return encoded(`${body}`);
}

// What fetch writes in upper case; other methods are sent as they are.
const USUAL_METHODS = ['DELETE', 'GET', 'HEAD', 'OPTIONS', 'POST', 'PUT'];

async function fetch(input, { method = 'GET', headers, body, signal } = {}) {
  const url = `${input}`;
  const upper = `${method}`.toUpperCase();
  const sent = new Headers(headers);
  if (typeof body === 'string' && !sent.has('content-type')) sent.set('content-type', 'text/plain;charset=UTF-8');
  const request = {
    method: USUAL_METHODS.includes(upper) ? upper : `${method}`,
    url,
    headers: [...sent],
    body: bytesOf(body),
    timeoutMs: signal?.milliseconds,
  };
  try {
    return new Response(url, ask(request));
  } catch (error) {
    // As fetch has it, and with what the router says.
    throw Object.assign(new TypeError(error?.payload?.message ?? `${error}`, { cause: error }), { payload: error?.payload });
  }
}

Object.assign(globalThis, { Promise: HookPromise, fetch, Headers, Response, AbortSignal, queueMicrotask: (job) => { jobs.push(job); } });
