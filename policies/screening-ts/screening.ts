// Screening of unwanted calls, and voicemail when the callee is busy: see README.md.
//
// An interface of the WIT package is a module, and its functions have names in camel case. What fails throws an error whose
// `payload` is the WIT error, with `kind` and `message`. The build checks the types and takes them off.

import type { FailureVerdict } from 'patchbay:policy/failure-route@0.1.0';
import type { ReplyVerdict } from 'patchbay:policy/onreply-route@0.1.0';
import type { RequestVerdict } from 'patchbay:policy/request-route@0.1.0';
import type { HostError } from 'patchbay:policy/types@0.1.0';

import * as auth from 'patchbay:policy/auth@0.1.0';
import * as location from 'patchbay:policy/location@0.1.0';
import * as log from 'patchbay:policy/log@0.1.0';
import * as message from 'patchbay:policy/message@0.1.0';
import * as settings from 'patchbay:policy/settings@0.1.0';
import * as targets from 'patchbay:policy/targets@0.1.0';
import * as transaction from 'patchbay:policy/transaction@0.1.0';

// The setting, read once per instance.
let blocked: string[] = [];

type Failure = { payload: HostError };

const relay = { tag: 'relay' as const };
const drop: RequestVerdict = { tag: 'drop' };
const pass: FailureVerdict = { tag: 'pass' };
const reply = (status: number): RequestVerdict => ({ tag: 'reply', val: { status, reason: '' } });

function routeRegister(): RequestVerdict {
  const verified = !auth.required() || auth.verify() === 'verified';
  return { tag: verified ? 'save' : 'challenge' };
}

// What the operator does not grant is left out.
function edit(change: () => void): void {
  try {
    change();
  } catch (refused) {
    log.log('debug', (refused as Failure).payload.message);
  }
}

// To every contact of the user in the Request-URI.
function routeToUser(): RequestVerdict {
  try {
    const { lookup, count } = location.lookupRequestUri();
    if (count === 0) return reply(480);
    targets.addLookup(lookup);
  } catch (error) {
    return reply((error as Failure).payload?.kind === 'not-found' ? 404 : 500);
  }
  transaction.arm({ onreplyRoute: true, failureRoute: true });
  return relay;
}

export const init = {
  init(): void {
    blocked = (settings.get('blocked') ?? '').split(' ').filter((word) => word !== '');
    const voicemail = settings.get('voicemail');
    if (voicemail !== null && !/^sips?:/.test(voicemail)) throw 'voicemail is no SIP URI';
  },
};

export const requestRoute = {
  requestRoute(): RequestVerdict {
    const facts = message.facts();
    if (facts.inDialog) return relay;
    const agent = message.header('User-Agent') ?? '';
    if (facts.ack || agent.includes('friendly-scanner')) return drop;
    const caller = message.fromUri();
    if (blocked.some((word) => caller.includes(word))) return reply(603);
    if (facts.register) return routeRegister();
    if (message.requestUser() === '') return reply(facts.options ? 200 : 405);
    return routeToUser();
  },
};

export const onreplyRoute = {
  onreplyRoute(): ReplyVerdict {
    edit(() => message.removeHeader('Server'));
    edit(() => message.setHeader('X-Screened', 'yes'));
    return 'pass';
  },
};

export const failureRoute = {
  failureRoute(): FailureVerdict {
    const voicemail = settings.get('voicemail');
    if (message.responseStatus() !== 486 || voicemail === null) return pass;
    try {
      targets.addUri(voicemail);
    } catch {
      return pass;
    }
    transaction.arm({ onreplyRoute: true });
    return relay;
  },
};
