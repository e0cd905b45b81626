/**
 * Who a process is, so that it can be recognised after its death or its pid's reuse: pid, start time, boot and pid
 * namespace. The ledger names its owners by it. It reads /proc and changes nothing.
 */

import { readFileSync, readlinkSync } from 'node:fs';

/** A process, for as long as the host is up. */
export interface ProcessIdentity {
  pid: number;
  /** Clock ticks since boot (field 22 of /proc/PID/stat), as text: it may pass 2^53 in theory and is only compared. */
  startTime: string;
}

export interface ProcStat extends ProcessIdentity {
  comm: string;
  /** `R`, `S`, `D`, `Z`, … as in proc(5). */
  state: string;
  parentPid: number;
  processGroup: number;
  session: number;
  /** CPU time in clock ticks (USER_HZ, 100 a second): its own, and that of children that it has waited for. */
  ticks: { readonly user: bigint; readonly system: bigint; readonly childUser: bigint; readonly childSystem: bigint };
  /** A zombie or dead: it runs nothing and holds nothing, only nobody has waited for it yet. */
  gone: boolean;
}

export interface LedgerOwner extends ProcessIdentity {
  bootId: string;
  /** As /proc names it, `pid:[4026531836]`: pids mean nothing outside. */
  pidNamespace: string;
}

/** What /proc says of a process; undefined when there is none. */
export function readProcStat(pid: number, procRoot = '/proc'): ProcStat | undefined {
  let text: string;
  try {
    text = readFileSync(`${procRoot}/${pid}/stat`, 'utf8');
  } catch {
    // ENOENT and ESRCH: no such process. EACCES (hidepid) hides other users' processes, which are none of ours.
    return undefined;
  }
  return parseProcStat(text);
}

/** Parses the line of /proc/PID/stat; undefined when it is not one. The name may hold spaces and parentheses. */
export function parseProcStat(text: string): ProcStat | undefined {
  const nameEnd = text.lastIndexOf(')');
  const nameStart = text.indexOf('(');
  if (nameStart < 0 || nameEnd < nameStart) return undefined;
  const fields = text
    .slice(nameEnd + 2)
    .trim()
    .split(' ');
  const state = fields[0];
  const startTime = fields[19];
  if (state === undefined || startTime === undefined) return undefined;
  const [user = 0n, system = 0n, childUser = 0n, childSystem = 0n] = fields.slice(11, 15).map(BigInt);
  return {
    pid: Number.parseInt(text, 10),
    comm: text.slice(nameStart + 1, nameEnd),
    state,
    parentPid: Number(fields[1]),
    processGroup: Number(fields[2]),
    session: Number(fields[3]),
    startTime,
    ticks: { user, system, childUser, childSystem },
    gone: state === 'Z' || state === 'X' || state === 'x',
  };
}

/** Pid and start time of a process; undefined when there is none. */
export function readIdentity(pid: number, procRoot = '/proc'): ProcessIdentity | undefined {
  const stat = readProcStat(pid, procRoot);
  return stat === undefined ? undefined : { pid: stat.pid, startTime: stat.startTime };
}

/** Whether that very process still runs: a zombie does not, and neither does another with the same pid. */
export function isAlive(identity: ProcessIdentity, procRoot = '/proc'): boolean {
  const stat = readProcStat(identity.pid, procRoot);
  return stat !== undefined && !stat.gone && stat.startTime === identity.startTime;
}

/** The current boot and pid namespace: what an owner's pid must be compared within. Neither changes while a process lives. */
export function readScope(procRoot = '/proc'): { readonly bootId: string; readonly pidNamespace: string } {
  const known = scopes.get(procRoot);
  if (known !== undefined) return known;
  const scope = {
    bootId: readFileSync(`${procRoot}/sys/kernel/random/boot_id`, 'utf8').trim(),
    pidNamespace: readlinkSync(`${procRoot}/self/ns/pid`),
  };
  if (procRoot === '/proc') scopes.set(procRoot, scope);
  return scope;
}

const scopes = new Map<string, { readonly bootId: string; readonly pidNamespace: string }>();

let ownIdentity: ProcessIdentity | undefined;

/** This process, or another one of the same boot and pid namespace, as an owner. */
export function readOwner(pid = process.pid, procRoot = '/proc'): LedgerOwner {
  const isOwn = pid === process.pid && procRoot === '/proc';
  const identity = isOwn ? (ownIdentity ??= readIdentity(pid)) : readIdentity(pid, procRoot);
  if (identity === undefined) throw new RangeError(`cannot own a ledger as pid ${pid}: no such process in ${procRoot}`);
  return { ...identity, ...readScope(procRoot) };
}
