
// A hook that returns a promise would end before it.
function settled(value) {
  if (typeof value?.then === 'function') throw new Error('a hook waits only for the network: async hooks need imports = ["http"] in policy.toml');
  return value;
}
