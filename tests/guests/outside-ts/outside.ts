// Reaches beyond the router once; what has to come of it is in tests/tests/conformance/outside.rs.

import { type Response, fetch } from 'patchbay:policy/http@0.1.0';
import * as keyvalue from 'patchbay:policy/keyvalue@0.1.0';
import * as reply from 'patchbay:policy/reply@0.1.0';

const utf8 = (text: string): Uint8Array => Uint8Array.from(unescape(encodeURIComponent(text)), (letter) => letter.charCodeAt(0));
const text = (list: Uint8Array | null): string => (list === null ? '-' : decodeURIComponent(escape(String.fromCharCode(...list))));

function refused(): string {
  try {
    return text(keyvalue.get('other'));
  } catch (error) {
    return (error as { payload: { kind: string } }).payload.kind;
  }
}

export const requestRoute = {
  requestRoute() {
    const response: Response = fetch({
      method: 'POST',
      url: 'http://lcr.example/route',
      headers: [['X-A', '1']],
      body: utf8('hello'),
      timeoutMs: 250,
    });
    const [, [, second]] = response.headers;
    keyvalue.set('calls/a', response.body);
    const sum: number = keyvalue.incrementWithTtl('calls/n', 2 ** 40, 60);
    const report = [response.status, second, text(keyvalue.get('calls/a')), sum, refused()].join(' ');
    reply.setBody('text/plain', utf8(report));
    return { tag: 'reply', val: { status: 299, reason: '' } };
  },
};
