// Calls everything that the router provides; what it has to see and to do is in tests/tests/conformance/imports.rs.

import * as auth from 'patchbay:policy/auth@0.1.0';
import * as clock from 'patchbay:policy/clock@0.1.0';
import * as counters from 'patchbay:policy/counters@0.1.0';
import * as http from 'patchbay:policy/http@0.1.0';
import * as keyvalue from 'patchbay:policy/keyvalue@0.1.0';
import * as location from 'patchbay:policy/location@0.1.0';
import * as log from 'patchbay:policy/log@0.1.0';
import * as message from 'patchbay:policy/message@0.1.0';
import * as random from 'patchbay:policy/random@0.1.0';
import * as reply from 'patchbay:policy/reply@0.1.0';
import * as settings from 'patchbay:policy/settings@0.1.0';
import * as targets from 'patchbay:policy/targets@0.1.0';
import * as timers from 'patchbay:policy/timers@0.1.0';
import * as transaction from 'patchbay:policy/transaction@0.1.0';

let report = [];
let inInit = '';
let beyond = [];

const say = (name, ...values) => report.push(`${name}: ${values.map((value) => value ?? '-').join(' ')}`);
const bytes = (text) => Uint8Array.from(text, (letter) => letter.charCodeAt(0));
const text = (list) => String.fromCharCode(...list);

function attempt(call) {
  try {
    return call() ?? 'ok';
  } catch (error) {
    return error.payload.kind;
  }
}

function readMessage() {
  const s = message.summary();
  say('summary', s.method, s.requestUri, s.fromUri, s.toUri, s.callId, s.source, s.inDialog);
  const facts = message.facts();
  say('facts', facts.invite, facts.ack, facts.update, facts.inDialog);
  say('message', message.method(), message.requestUri(), message.requestUser(), message.fromUri(), message.toUri(), message.callId());
  say('status', message.status(), message.responseStatus(), message.responseHeader('Server'));
  say('body', text(message.body()));
  say('header', message.header('Subject'), message.header('X-None'), message.hasHeader('Subject'), message.hasHeader('X-None'));
  say('headers', ...message.headers('X-Many'), message.headers('X-None').length);
  say('named', ...message.headersNamed(['Subject', 'X-None', 'X-Many']));
  say('joined', message.headersJoined('Subject,X-None'));
}

function editMessage() {
  say('set', attempt(() => message.setHeader('X-New', '1')), attempt(() => message.setHeader('Via', 'x')));
  say('add', attempt(() => message.addHeader('X-Many', 'three')), attempt(() => message.addHeader('X Bad', '')));
  say('remove', attempt(() => message.removeHeader('X-Many')), attempt(() => message.removeHeader('From')));
  say('uri', attempt(() => message.setRequestUri('sip:carol@example.com')), attempt(() => message.setRequestUri('nothing')));
  say('set body', attempt(() => message.setBody('text/plain', bytes('new'))), attempt(() => message.setBody('nothing', bytes('x'))));
}

function useTransaction() {
  const source = transaction.source();
  say('source', source.transport, source.address, source.port, source.local, transaction.sourceAddress());
  say('networks', transaction.sourceIn('192.0.2.0/24'), transaction.sourceIn('10.0.0.0/8'));
  say('transaction', transaction.inDialog(), transaction.isLocalUri('sip:x@example.com'), transaction.isLocalUri('sip:x@example.org'), transaction.failureRound());
  say('variable', transaction.variable('class'), attempt(() => transaction.setVariable('class', 'größer')), transaction.variable('class'));
  transaction.arm({ branchRoute: true, failureRoute: true });
  transaction.setRecordRoute(false);
  say('parameter', attempt(() => transaction.addRecordRouteParameter('tenant', 'red')), transaction.recordRouteParameter('tenant'), transaction.recordRouteParameter('none'));
}

function useTargets() {
  say('targets', attempt(() => targets.addUri('sip:a@192.0.2.5')), attempt(() => targets.addUri('nothing')), targets.count());
  const full = { uri: 'sip:b@192.0.2.6', q: 700, nextHop: 'sip:192.0.2.7', listener: 'udp:192.0.2.8:5060', noAnswerMs: 1500 };
  say('target', attempt(() => targets.add(full)), attempt(() => targets.add({ uri: 'sip:c@192.0.2.6', q: 0, nextHop: null, listener: null, noAnswerMs: null })));
  targets.nextGroup();
  targets.setNoAnswerTimeout(9000);
  say('lookup', attempt(() => targets.addLookup(7)), targets.count());
  targets.clear();
  say('reply', attempt(() => reply.addHeader('X-Reply', 'yes')), attempt(() => reply.addHeader('Via', 'x')));
}

function useLocation() {
  const found = location.lookup('sip:bob@example.com');
  const own = location.lookupRequestUri();
  say('found', found.lookup, found.count, own.lookup, own.count);
  for (const index of [0, 1, 2]) {
    const b = location.bindingAt(7, index);
    say('binding', ...(b === null ? ['none'] : [b.uri, b.q, b.expiresSecs, b.received, b.userAgent, b.instance]));
  }
  say('registered', location.isRegisteredSource('sip:alice@example.com'), location.isRegisteredSource('sip:bob@example.com'));
  say('contacts', attempt(() => location.saveContact('sip:bob@example.com', 'sip:bob@192.0.2.3', 60)), attempt(() => location.removeContact('sip:bob@example.com', '')));
}

function useServices() {
  say('auth', auth.verify(), auth.verifiedUser(), auth.required(), auth.realm());
  say('settings', settings.get('colour'), settings.get('none'), ...settings.all().map(([name, value]) => `${name}=${value}`));
  say('log', log.enabled('trace'), log.enabled('warn'));
  log.log('warn', 'a line');
  say('clock', clock.unixMs(), clock.monotonicUs(), random.u64());
  say('counters', attempt(() => counters.add('calls', 5)), attempt(() => counters.add('no name', 1)), inInit);
  say('timers', attempt(() => timers.set('known', 250)), attempt(() => timers.set('no name', 1)), timers.cancel('known'), timers.cancel('unknown'));
}

const utf8 = (text) => bytes(unescape(encodeURIComponent(text)));
const fromUtf8 = (list) => list && decodeURIComponent(escape(text(list)));
const get = (key) => {
  try {
    return fromUtf8(keyvalue.get(key));
  } catch (error) {
    return error.payload.kind;
  }
};
const ask = (url) => http.fetch({ method: 'GET', url, headers: [], body: bytes(''), timeoutMs: null });

function useHttp() {
  const response = http.fetch({ method: 'POST', url: 'http://lcr.example/route', headers: [['X-A', '1'], ['X-B', 'größer']], body: bytes('hello'), timeoutMs: 250 });
  say('http', response.status, response.headers.map(([name, value]) => `${name}=${value}`).join(','), fromUtf8(response.body));
  for (const url of ['http://empty.example/', 'http://none.example/', 'http://other.example/']) {
    say('http', attempt(() => { const { status, headers, body } = ask(url); return `${status} ${headers.length} ${body.length}`; }));
  }
}

function useKeyvalue() {
  say('keyvalue', get('calls/a'), attempt(() => keyvalue.exists('calls/a')));
  const set = [attempt(() => keyvalue.set('calls/a', utf8('größer'))), attempt(() => keyvalue.setWithTtl('calls/b', bytes(''), 60)), attempt(() => keyvalue.setWithTtl('calls/b', bytes('b'), 0))];
  say('set', ...set, get('calls/a'), get('calls/b'), keyvalue.exists('calls/b'));
  say('increment', attempt(() => keyvalue.increment('calls/n', 2 ** 40)), attempt(() => keyvalue.incrementWithTtl('calls/n', -(2 ** 40) - 7, 60)), attempt(() => keyvalue.increment('calls/a', 1)));
  say('keys', keyvalue.listKeys('calls/', '').join(','), keyvalue.listKeys('calls/', 'calls/a').join(','), keyvalue.listKeys('calls/x', '').length);
  say('delete', attempt(() => keyvalue.delete('calls/b')), attempt(() => keyvalue.exists('calls/b')), get('other'));
  say('beyond', ...beyond);
}

export const init = {
  init() {
    if (settings.get('refuse') !== null) throw settings.get('refuse');
    inInit = attempt(() => counters.add('calls', 1));
    beyond = [attempt(() => ask('http://lcr.example/route').status), get('calls/a')];
  },
};

export const requestRoute = {
  requestRoute() {
    const wanted = message.header('X-Verdict');
    if (wanted === 'reply') return { tag: 'reply', val: { status: 486, reason: 'Später' } };
    if (wanted !== null) return { tag: wanted };
    report = [];
    [readMessage, editMessage, useTransaction, useTargets, useLocation, useServices, useHttp, useKeyvalue].forEach((part) => part());
    reply.setBody('text/plain', bytes(unescape(encodeURIComponent(report.join('\n')))));
    return { tag: 'reply', val: { status: 299, reason: '' } };
  },
};

export const branchRoute = {
  branchRoute() {
    if (message.hasHeader('X-Verdict')) return 'drop';
    message.setRequestUri('sip:branch@192.0.2.5');
    return 'pass';
  },
};

export const onreplyRoute = {
  onreplyRoute() {
    if (message.hasHeader('X-Verdict')) return 'drop';
    message.setHeader('X-Status', `${message.status()} ${message.responseStatus()} ${message.responseHeader('Server')}`);
    return 'pass';
  },
};

export const failureRoute = {
  failureRoute() {
    const wanted = message.responseHeader('X-Verdict');
    if (wanted === 'relay') targets.addUri('sip:again@192.0.2.5');
    if (wanted === 'reply') return { tag: 'reply', val: { status: message.responseStatus() + 1, reason: 'Later' } };
    return { tag: wanted ?? 'pass' };
  },
};

export const eventRoute = {
  eventRoute({ tag, val }) {
    if (tag === 'timer') counters.add(`timer_${val}`, 1);
    else counters.add(`${tag}_${val.aor}_${val.contact}`, val.expiresSecs);
  },
};
