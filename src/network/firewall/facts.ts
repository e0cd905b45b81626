/**
 * Which firewall programs are there, which of them the kernel takes, and whose rules packets pass already. Asked by networks, the doctor and `nestling ci`.
 * Changes nothing: what is tried is tried in a network namespace of its own, or checked without being made.
 */
import { existsSync, readFileSync } from 'node:fs';
import { lookUpProgram } from '../../process/find-program.ts';
import { runCommand } from '../../process/run-command.ts';
import { type BaseChain, listedBaseChains, savedFilterChains } from './saved-rules.ts';

/** iptables comes in two families that look the same, and whose rules are not those of the other. */
export type IptablesFamily = 'legacy' | 'nft';

/** Rules of others that packets of a network pass. */
export interface ForeignChain extends BaseChain {
  /** Undefined: made with nft or by a firewall service, where iptables cannot add to it. */
  readonly iptables: IptablesFamily | undefined;
}

export interface FirewallFacts {
  /** Path of `nft`. */
  readonly nft: string | undefined;
  /** What `iptables` itself is; undefined where there is none. */
  readonly iptables: IptablesFamily | undefined;
  /** The command to call for each family, where there is one: `iptables-legacy`, or `iptables` itself. */
  readonly commands: Readonly<Partial<Record<IptablesFamily, string>>>;
  readonly foreign: readonly ForeignChain[];
  /** Tables of the legacy family in this network namespace. */
  readonly legacyTables: readonly string[];
  /** Packets that a bridge hands on go through these too (br_netfilter). */
  readonly bridgeNetfilter: { readonly ip: boolean; readonly ip6: boolean };
}

/** Which programs the kernel really takes rules from. */
export interface FirewallTrials {
  readonly nft: boolean | undefined;
  readonly legacy: boolean | undefined;
  readonly iptablesNft: boolean | undefined;
  /** Why not, in the program's own words. */
  readonly words: Readonly<Partial<Record<'nft' | 'legacy' | 'iptablesNft', string>>>;
}

export interface FactsOptions {
  readonly proc?: string;
  /** Finds a program; default: in PATH and where the system keeps its own. */
  readonly find?: (program: string) => string | undefined;
  readonly signal?: AbortSignal | undefined;
}

const COMMAND_OPTIONS = { timeout: 5000, killSignal: 'SIGKILL', maxBuffer: 64 * 1024 * 1024 } as const;

/** Looks; two to four short commands. */
export async function readFirewallFacts({
  proc = '/proc',
  find = lookUpProgram,
  signal,
}: FactsOptions = {}): Promise<FirewallFacts> {
  const nft = find('nft');
  const commandOf = (name: string): string | undefined => (find(name) === undefined ? undefined : name);
  const commands = { legacy: commandOf('iptables-legacy'), nft: commandOf('iptables-nft') };
  const legacyTables = namesIn(`${proc}/net/ip_tables_names`);
  const legacyTables6 = namesIn(`${proc}/net/ip6_tables_names`);
  const [iptables, listed] = await Promise.all([
    find('iptables') === undefined ? undefined : readFamily(signal),
    nft === undefined ? '' : listChains(nft, signal),
  ]);
  const all = withPlain(commands, iptables);
  const chains = listedBaseChains(listed);
  const foreign = await Promise.all([
    legacyTables.includes('filter') ? savedBy(all.legacy, 'ip', signal) : [],
    legacyTables6.includes('filter') ? savedBy(all.legacy, 'ip6', signal) : [],
    ...(['ip', 'ip6'] as const).map(async (family) => {
      const isThere = nft === undefined || chains.some((chain) => isIptables(chain) && chain.family === family);
      return isThere ? await savedBy(all.nft, family, signal) : [];
    }),
  ]);
  const byLegacy = foreign.slice(0, 2).flat();
  const byNft = foreign.slice(2).flat();
  return {
    nft,
    iptables,
    commands: all,
    foreign: [
      ...byLegacy.map((chain) => ({ ...chain, iptables: 'legacy' as const })),
      ...byNft.map((chain) => ({ ...chain, iptables: 'nft' as const })),
      ...chains.filter((chain) => !isIptables(chain)).map((chain) => ({ ...chain, iptables: undefined })),
    ],
    legacyTables: [...new Set([...legacyTables, ...legacyTables6])],
    bridgeNetfilter: {
      ip: textOf(`${proc}/sys/net/bridge/bridge-nf-call-iptables`) === '1',
      ip6: textOf(`${proc}/sys/net/bridge/bridge-nf-call-ip6tables`) === '1',
    },
  };
}

/** What a network needs, small; checked, not made. */
const NFT_TRIAL = `table ip nestling_trial {
  chain forward {
    type filter hook forward priority 0; policy accept;
    ct state established,related accept
    reject
  }
  chain postrouting {
    type nat hook postrouting priority 100; policy accept;
    masquerade
  }
}
`;

/** Tries each program that is there. A container that may not make a network namespace has one already: there rules are listed as they are. */
export async function tryFirewalls(
  { nft, commands }: Pick<FirewallFacts, 'nft' | 'commands'>,
  signal?: AbortSignal,
): Promise<FirewallTrials> {
  const options = { ...COMMAND_OPTIONS, signal };
  const apart = (await runCommand('unshare', ['-n', 'true'], options)).status === 0 ? ['unshare', '-n'] : [];
  const words: Partial<Record<keyof FirewallTrials, string>> = {};
  const attempt = async (
    name: 'nft' | 'legacy' | 'iptablesNft',
    program: string | undefined,
    args: readonly string[],
    input?: string,
  ): Promise<boolean | undefined> => {
    if (program === undefined) return undefined;
    const [command = '', ...rest] = [...apart, program, ...args];
    const { status, stderr, error } = await runCommand(command, rest, {
      ...options,
      ...(input !== undefined && { input }),
    });
    if (status !== 0) words[name] = lastLine(stderr) || lastLine(error?.message ?? '');
    return status === 0;
  };
  const [byNft, legacy, iptablesNft] = await Promise.all([
    attempt('nft', nft, ['-c', '-f', '-'], NFT_TRIAL),
    attempt('legacy', commands.legacy, ['-t', 'nat', '-L', '-n']),
    attempt('iptablesNft', commands.nft, ['-t', 'nat', '-L', '-n']),
  ]);
  return { nft: byNft, legacy, iptablesNft, words };
}

/** What `iptables-save`, or another of the family, prints; empty where it cannot. */
export async function saveTables(
  command: string,
  family: 'ip' | 'ip6',
  signal?: AbortSignal,
  args: readonly string[] = [],
): Promise<string> {
  const { stdout } = await runCommand(iptablesProgram(command, family, 'save'), args, { ...COMMAND_OPTIONS, signal });
  return stdout;
}

/** `ip6tables-legacy-restore` for `iptables-legacy`, ip6 and restore. */
export function iptablesProgram(command: string, family: 'ip' | 'ip6', action: 'save' | 'restore'): string {
  return `${family === 'ip' ? command : command.replace('iptables', 'ip6tables')}-${action}`;
}

/** Kernel's or program's last words are those that matter. */
export function lastLine(text: string): string {
  return text.trim().split('\n').at(-1)?.trim() ?? '';
}

async function savedBy(
  command: string | undefined,
  family: 'ip' | 'ip6',
  signal: AbortSignal | undefined,
): Promise<BaseChain[]> {
  if (command === undefined) return [];
  return savedFilterChains(await saveTables(command, family, signal, ['-t', 'filter']), family);
}

async function listChains(nft: string, signal: AbortSignal | undefined): Promise<string> {
  const { stdout } = await runCommand(nft, ['list', 'chains'], { ...COMMAND_OPTIONS, signal });
  return stdout;
}

/** iptables-nft keeps its rules in tables of these names and nowhere else. */
function isIptables({ family, table, name }: BaseChain): boolean {
  return (family === 'ip' || family === 'ip6') && table === 'filter' && /[A-Z]+$/.test(name);
}

async function readFamily(signal: AbortSignal | undefined): Promise<IptablesFamily | undefined> {
  const { status, stdout } = await runCommand('iptables', ['--version'], { ...COMMAND_OPTIONS, signal });
  if (status !== 0) return undefined;
  // Before there was another family, none was named.
  return stdout.includes('nf_tables') ? 'nft' : 'legacy';
}

/** Distributions with one family only have no command with its name. */
function withPlain(
  commands: Readonly<Record<IptablesFamily, string | undefined>>,
  plain: IptablesFamily | undefined,
): FirewallFacts['commands'] {
  const legacy = commands.legacy ?? (plain === 'legacy' ? 'iptables' : undefined);
  const nft = commands.nft ?? (plain === 'nft' ? 'iptables' : undefined);
  return { ...(legacy !== undefined && { legacy }), ...(nft !== undefined && { nft }) };
}

function namesIn(path: string): string[] {
  return textOf(path).split('\n').filter(Boolean);
}

/** What the kernel does not have, or does not show in this container, says nothing. */
function textOf(path: string): string {
  return existsSync(path) ? readFileSync(path, 'utf8').trim() : '';
}
