// Made by `patchbay policy build`: whether a value is what the router takes. The engine would end the hook without a word.
//
// A check says what is wrong with a value, as the end of a sentence that begins with its name, or nothing.

const kind = (value) => {
  if (value === null || value === undefined) return `${value}`;
  if (Array.isArray(value)) return 'an array';
  if (typeof value === 'object') return value.constructor === Object || value.constructor === undefined ? 'an object' : `a ${value.constructor.name}`;
  return typeof value === 'string' ? `'${value}'` : typeof value === 'function' ? 'a function' : `${typeof value} ${String(value)}`;
};
const wrong = (value, wanted) => ` is ${kind(value)}, not ${wanted}`;
const quoted = (names) => names.map((name) => `'${name}'`).join(', ');

export const text = (value) => {
  if (typeof value !== 'string') return wrong(value, 'a string');
  if (!value.isWellFormed()) return ' has half of a character (a lone surrogate)';
};

export const truth = (value) => {
  if (typeof value !== 'boolean') return wrong(value, 'true or false');
};

// A fraction is cut off.
export const whole = (low, above) => (value) => {
  if (typeof value !== 'number' || !(Math.trunc(value) >= low && value < above)) return wrong(value, `a number from ${low} to ${above > 2 ** 53 ? '2^' + Math.log2(above) : above - 1}`);
};

export const bytes = (value) => {
  if (value instanceof Uint8Array) return;
  if (!Array.isArray(value) || !value.every((each) => Number.isInteger(each) && each >= 0 && each < 256)) return wrong(value, 'a Uint8Array');
};

export const optional = (check) => (value) => {
  if (value !== null && value !== undefined) return check(value);
};

export const list = (check) => (value) => {
  if (!Array.isArray(value)) return wrong(value, 'an array');
  for (let at = 0; at < value.length; at += 1) {
    const problem = check(value[at]);
    if (problem !== undefined) return `[${at}]${problem}`;
  }
};

export const tuple = (checks) => (value) => {
  if (!Array.isArray(value) || value.length !== checks.length) return wrong(value, `an array of ${checks.length}`);
  for (let at = 0; at < checks.length; at += 1) {
    const problem = checks[at](value[at]);
    if (problem !== undefined) return `[${at}]${problem}`;
  }
};

export const record = (fields) => {
  const checks = Object.entries(fields);
  return (value) => {
    if (typeof value !== 'object' || value === null) return wrong(value, `an object with ${Object.keys(fields).join(', ')}`);
    for (const [name, check] of checks) {
      const problem = check(value[name]);
      if (problem !== undefined) return `.${name}${problem}`;
    }
  };
};

export const enumeration = (names) => (value) => {
  if (!names.includes(value)) return wrong(value, `one of ${quoted(names)}`);
};

export const flags = (names) => (value) => {
  if (typeof value !== 'object' || value === null) return wrong(value, `an object like { ${names[0]}: true }`);
  for (const name in value) if (!names.includes(name)) return `.${name} is none of ${names.join(', ')}`;
};

export const variant = (cases) => (value) => {
  if (typeof value !== 'object' || value === null) return wrong(value, `an object like { tag: '${Object.keys(cases)[0]}' }`);
  if (!Object.hasOwn(cases, value.tag)) return `.tag is ${kind(value.tag)}, not one of ${quoted(Object.keys(cases))}`;
  const check = cases[value.tag];
  const problem = check === null ? undefined : check(value.val);
  if (problem !== undefined) return `.val${problem}`;
};

// As what the router refuses.
export const refuse = (message) => {
  throw Object.assign(new TypeError(message), { payload: { kind: 'invalid-argument', message } });
};

// A number of 64 bits may be a BigInt.
const number = (name, value) => {
  const converted = Number(value);
  return Number.isSafeInteger(converted) ? converted : refuse(`${name} is ${value}n: numbers are exact up to 2^53`);
};

/** A function of the router that says what is wrong with its arguments. */
export function checked(name, call, parameters) {
  const checks = Object.entries(parameters);
  return (...values) => {
    for (let at = 0; at < checks.length; at += 1) {
      const [parameter, check] = checks[at];
      if (typeof values[at] === 'bigint' && check.long) values[at] = number(`${name}: ${parameter}`, values[at]);
      const problem = check(values[at]);
      if (problem !== undefined) refuse(`${name}: ${parameter}${problem}`);
    }
    values.length = checks.length;
    return call(...values);
  };
}

export const long = (low, above) => Object.assign(whole(low, above), { long: true });
