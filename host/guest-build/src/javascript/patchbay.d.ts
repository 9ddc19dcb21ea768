// The interfaces of patchbay:policy, for editors and `tsc`. What they do is documented in wit/.
// What can fail throws an error whose `payload` is a HostError.

declare module 'patchbay:policy/types@0.1.0' {
  export type ErrorKind = 'not-found' | 'invalid-argument' | 'wrong-hook' | 'denied' | 'limit' | 'unavailable';
  export interface HostError { kind: ErrorKind; message: string }
  export interface ResponseLine { status: number; reason: string }
  export interface Binding {
    uri: string; q: number; expiresSecs: number; received: string; userAgent: string; instance: string | null;
  }
}

// What the hooks return, and what event-route is told.
declare module 'patchbay:policy/request-route@0.1.0' {
  import type { ResponseLine } from 'patchbay:policy/types@0.1.0';
  export type RequestVerdict = { tag: 'relay' | 'challenge' | 'save' | 'drop' | 'next' } | { tag: 'reply'; val: ResponseLine };
}

declare module 'patchbay:policy/failure-route@0.1.0' {
  import type { ResponseLine } from 'patchbay:policy/types@0.1.0';
  export type FailureVerdict = { tag: 'pass' | 'relay' } | { tag: 'reply'; val: ResponseLine };
}

declare module 'patchbay:policy/branch-route@0.1.0' {
  export type BranchVerdict = 'pass' | 'drop';
}

declare module 'patchbay:policy/onreply-route@0.1.0' {
  export type ReplyVerdict = 'pass' | 'drop';
}

declare module 'patchbay:policy/event-route@0.1.0' {
  export interface Registration { aor: string; contact: string; expiresSecs: number }
  export type Event =
    | { tag: 'registration-added' | 'registration-refreshed' | 'registration-removed' | 'registration-expired'; val: Registration }
    | { tag: 'timer'; val: string };
}

declare module 'patchbay:policy/message@0.1.0' {
  export interface MessageSummary {
    method: string; requestUri: string; fromUri: string; toUri: string; callId: string; source: string; inDialog: boolean;
  }
  export interface MessageFacts {
    inDialog: boolean; invite: boolean; ack: boolean; bye: boolean; cancel: boolean; register: boolean; options: boolean; info: boolean;
    prack: boolean; subscribe: boolean; notify: boolean; publish: boolean; message: boolean; refer: boolean; update: boolean;
  }
  export function summary(): MessageSummary;
  export function facts(): MessageFacts;
  export function method(): string;
  export function requestUri(): string;
  export function requestUser(): string;
  export function setRequestUri(uri: string): void;
  export function status(): number | null;
  export function fromUri(): string;
  export function toUri(): string;
  export function callId(): string;
  export function body(): Uint8Array;
  export function setBody(contentType: string, body: Uint8Array): void;
  export function header(name: string): string | null;
  export function headers(name: string): string[];
  export function headersNamed(names: string[]): (string | null)[];
  export function headersJoined(names: string): string;
  export function hasHeader(name: string): boolean;
  export function setHeader(name: string, value: string): void;
  export function addHeader(name: string, value: string): void;
  export function removeHeader(name: string): number;
  export function responseStatus(): number | null;
  export function responseHeader(name: string): string | null;
}

declare module 'patchbay:policy/transaction@0.1.0' {
  export interface Hooks { branchRoute?: boolean; onreplyRoute?: boolean; failureRoute?: boolean }
  export interface MessageSource { transport: 'udp' | 'tcp' | 'tls' | 'ws' | 'wss'; address: string; port: number; local: string }
  export function source(): MessageSource;
  export function sourceAddress(): string;
  export function sourceIn(networks: string): boolean;
  export function inDialog(): boolean;
  export function isLocalUri(uri: string): boolean;
  export function failureRound(): number;
  export function variable(name: string): string | null;
  export function setVariable(name: string, value: string): void;
  export function arm(hooks: Hooks): void;
  export function setRecordRoute(enabled: boolean): void;
  export function addRecordRouteParameter(name: string, value: string): void;
  export function recordRouteParameter(name: string): string | null;
}

declare module 'patchbay:policy/targets@0.1.0' {
  export interface Target { uri: string; q: number; nextHop: string | null; listener: string | null; noAnswerMs: number | null }
  export function addUri(uri: string): void;
  export function add(target: Target): void;
  export function addLookup(lookup: number): number;
  export function nextGroup(): void;
  export function setNoAnswerTimeout(ms: number): void;
  export function clear(): void;
  export function count(): number;
}

declare module 'patchbay:policy/reply@0.1.0' {
  export function addHeader(name: string, value: string): void;
  export function setBody(contentType: string, body: Uint8Array): void;
}

declare module 'patchbay:policy/location@0.1.0' {
  import type { Binding } from 'patchbay:policy/types@0.1.0';
  export interface LookupResult { lookup: number; count: number }
  export function lookup(uri: string): LookupResult;
  export function lookupRequestUri(): LookupResult;
  export function bindingAt(lookup: number, index: number): Binding | null;
  export function isRegisteredSource(uri: string): boolean;
  export function saveContact(aor: string, contact: string, expiresSecs: number): void;
  export function removeContact(aor: string, contact: string): number;
}

declare module 'patchbay:policy/auth@0.1.0' {
  export function verify(): 'verified' | 'missing' | 'stale' | 'failed';
  export function verifiedUser(): string | null;
  export function required(): boolean;
  export function realm(): string;
}

declare module 'patchbay:policy/settings@0.1.0' {
  export function get(name: string): string | null;
  export function all(): [string, string][];
}

declare module 'patchbay:policy/log@0.1.0' {
  export type Level = 'trace' | 'debug' | 'info' | 'warn' | 'error';
  export function log(level: Level, message: string): void;
  export function enabled(level: Level): boolean;
}

declare module 'patchbay:policy/clock@0.1.0' {
  export function unixMs(): number;
  export function monotonicUs(): number;
}

declare module 'patchbay:policy/random@0.1.0' {
  export function u64(): number;
}

declare module 'patchbay:policy/counters@0.1.0' {
  export function add(name: string, value: number | bigint): void;
}

declare module 'patchbay:policy/timers@0.1.0' {
  export function set(name: string, delayMs: number): void;
  export function cancel(name: string): boolean;
}

// Needs imports = ["http"] in policy.toml, and a grant of the operator.
declare module 'patchbay:policy/http@0.1.0' {
  export interface Request { method: string; url: string; headers: [string, string][]; body: Uint8Array; timeoutMs: number | null }
  export interface Response { status: number; headers: [string, string][]; body: Uint8Array }
  export function fetch(request: Request): Response;
}

// Needs imports = ["keyvalue"] in policy.toml, and a grant of the operator.
declare module 'patchbay:policy/keyvalue@0.1.0' {
  export function get(key: string): Uint8Array | null;
  export function exists(key: string): boolean;
  export function set(key: string, value: Uint8Array): void;
  export function setWithTtl(key: string, value: Uint8Array, ttlSecs: number): void;
  function remove(key: string): void;
  export { remove as delete };
  export function increment(key: string, delta: number | bigint): number;
  export function incrementWithTtl(key: string, delta: number | bigint, ttlSecs: number): number;
  export function listKeys(prefix: string, after: string): string[];
}
