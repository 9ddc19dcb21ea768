// Made by `patchbay policy build`: the exports of the component.

import { enabled, log } from 'patchbay:policy/log@0.1.0';
import * as check from './check.mjs';
import * as policy from './policy.mjs';

const unchecked = { ...policy };

// An exception that nobody catches ends the hook; the log tells where it came from. In `init` it is the error text. So does a value that is
// no verdict.
function guarded(hook, name, fits) {
  const implementation = unchecked[name];
  if (typeof implementation?.[name] !== 'function') throw new Error(`policy.toml lists ${hook}: the policy has to export ${name} = { ${name}() {} }`);
  return {
    [name](...values) {
      try {
        const verdict = settled(implementation[name](...values));
        const problem = fits?.(verdict);
        if (problem !== undefined) throw new TypeError(`the verdict${problem}`);
        return verdict;
      } catch (error) {
        const text = typeof error === 'string' ? error : `${error?.payload?.message ?? error?.message ?? error}`;
        if (hook === 'init') throw text;
        if (enabled('error')) log('error', `${hook}: ${text} ${error?.stack ?? ''}`);
        throw error;
      }
    },
  };
}

function notListed(hook, name) {
  if (unchecked[name] !== undefined) throw new Error(`the policy exports ${name}: ${hook} has to be in the hooks of policy.toml`);
}
