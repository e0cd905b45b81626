/** Reads what `iptables-save` and `nft list chains` print, for what in it concerns packets of a network that is none of theirs. Pure. */

/** A built-in chain that all packets of its kind pass. */
export interface BaseChain {
  /** `ip filter FORWARD`, `inet firewalld filter_FORWARD`. */
  readonly name: string;
  readonly family: string;
  readonly table: string;
  readonly hook: 'input' | 'output' | 'forward';
  /** Refuses what no rule of its lets through, or has rules that refuse. */
  readonly refuses: boolean;
}

const HOOKS = { INPUT: 'input', FORWARD: 'forward', OUTPUT: 'output' } as const;
const REFUSALS = new Set(['DROP', 'REJECT']);

/** The filter table's chains in what `iptables-save` prints; our own rules do not count. */
export function savedFilterChains(saved: string, family: 'ip' | 'ip6'): BaseChain[] {
  const section = saved.split(/^\*/m).find((part) => part.startsWith('filter\n')) ?? '';
  const lines = section.split('\n').map((line) => line.trim());
  const policies = new Map(lines.flatMap((line) => entry(/^:(\S+) (\S+)/.exec(line))));
  return Object.entries(HOOKS).flatMap(([chain, hook]) => {
    const policy = policies.get(chain);
    if (policy === undefined) return [];
    const refuses = REFUSALS.has(policy) || refusesBelow(chain, lines, new Set());
    return [{ name: `${family} filter ${chain}`, family, table: 'filter', hook, refuses }];
  });
}

/** Follows jumps; a loop is refused by the kernel, but a chain may be reached twice. */
function refusesBelow(chain: string, lines: readonly string[], seen: Set<string>): boolean {
  if (seen.has(chain) || chain.startsWith('NESTLING_')) return false;
  seen.add(chain);
  return lines
    .filter((line) => line.startsWith(`-A ${chain} `))
    .map((line) => / -[jg] (\S+)/.exec(line)?.[1] ?? '')
    .some((target) => REFUSALS.has(target) || refusesBelow(target, lines, seen));
}

function entry(found: RegExpExecArray | null): [string, string][] {
  const [, name, value] = found ?? [];
  return name === undefined || value === undefined ? [] : [[name, value]];
}

/** Chains with a hook in what `nft list chains` prints, ours left out. It does not print rules: what those refuse is not seen here. */
export function listedBaseChains(listed: string): BaseChain[] {
  const found: BaseChain[] = [];
  let table: [string, string] = ['', ''];
  let chain = '';
  for (const line of listed.split('\n')) {
    const [, family, name] = /^table (\S+) (\S+) \{/.exec(line) ?? [];
    if (family !== undefined && name !== undefined) table = [family, name];
    chain = /^\s+chain (\S+) \{/.exec(line)?.[1] ?? chain;
    const [, hook, policy] = /type filter hook (input|output|forward) .*policy (\w+);/.exec(line) ?? [];
    if (hook === undefined || table[1].startsWith('nestling_')) continue;
    found.push({
      name: `${table[0]} ${table[1]} ${chain}`,
      family: table[0],
      table: table[1],
      hook: hook === 'input' || hook === 'output' ? hook : 'forward',
      refuses: policy === 'drop',
    });
  }
  return found;
}
