// Hands over what the router does not take, as the user part of the Request-URI says; what an error says is the reason phrase.

import * as counters from 'patchbay:policy/counters@0.1.0';
import { increment } from 'patchbay:policy/keyvalue@0.1.0';
import * as log from 'patchbay:policy/log@0.1.0';
import * as message from 'patchbay:policy/message@0.1.0';
import * as reply from 'patchbay:policy/reply@0.1.0';
import * as targets from 'patchbay:policy/targets@0.1.0';
import * as transaction from 'patchbay:policy/transaction@0.1.0';

const calls = {
  text: () => message.header(5),
  half: () => message.setHeader('X-A', '\ud83d'),
  list: () => message.headersNamed(['a', null]),
  part: () => targets.add({ uri: 'sip:a@192.0.2.1' }),
  range: () => targets.setNoAnswerTimeout(-1),
  case: () => log.log('nope', 'x'),
  flag: () => transaction.arm({ failureroute: true }),
  truth: () => transaction.setRecordRoute(undefined),
  bytes: () => reply.setBody('text/plain', 'text'),
  long: () => counters.add('calls', 5n),
  signed: () => increment('calls/n', -5n),
  beyond: () => counters.add('calls', 2n ** 60n),
  fraction: () => targets.setNoAnswerTimeout(1500.5),
};

const verdicts = {
  nothing: undefined,
  tag: { tag: 'nope' },
  half: { tag: 'reply', val: { status: 486 } },
};

function raise() {
  throw new Error('nobody catches this');
}

export const requestRoute = {
  requestRoute() {
    const [way, name] = message.requestUser().split('-');
    if (way === 'raise') raise();
    if (way === 'verdict') return verdicts[name];
    try {
      calls[name]();
      return { tag: 'relay' };
    } catch (error) {
      return { tag: 'reply', val: { status: 486, reason: `${error.payload.kind}: ${error.message}` } };
    }
  },
};

export const branchRoute = {
  branchRoute() {
    return { tag: 'pass' };
  },
};
