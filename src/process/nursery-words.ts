/** How a nursery is asked, in words, and how it answers, in lines. Pure. */
import type { BpfKind } from '../core/bpf-call.ts';

/** Where a child finds its gate: a stream on which it says that it waits, and is let on. */
export const GATE_FD = 3;
/** Where a nursery is asked, and answers. */
export const TALK_FD = 4;

/** What a child does before its program runs, in this order. */
export interface NurseryRequest {
  readonly id: number;
  /** File for its standard error, made anew or, where it has been there before, written on. The other streams lead nowhere. */
  readonly stderr: string;
  readonly appends?: boolean | undefined;
  /** `cgroup.procs` files of the groups that it joins, or any file that takes a pid; as a thread where that will do, see `group-join.ts`. */
  readonly cgroupProcs?: readonly string[] | undefined;
  /** Groups of cgroup v2 that get one of the nursery's BPF programs, by its place among them. Where the kernel takes none, nothing comes of it. */
  readonly programs?: readonly { readonly place: number; readonly directory: string }[] | undefined;
  /** Socket that it connects GATE_FD with. */
  readonly gate?: string | undefined;
  /** It says `ready` at its gate and waits for a line there. */
  readonly hold?: boolean | undefined;
  /** Its program has the gate as well. */
  readonly keepsGate?: boolean | undefined;
  /** Has to be none. */
  readonly link?: { readonly path: string; readonly why: string } | undefined;
  /** That are made with it, all in one: a child with its own mounts has them private. */
  readonly namespaces: readonly NamespaceKind[];
  readonly mounts: readonly NurseryMount[];
  /** In what has been mounted, in this order. */
  readonly files?: readonly NurseryFile[] | undefined;
  /** Folder that it works in; default: the nursery's, which is its maker's. */
  readonly cwd?: string | undefined;
  /** Added to the environment that it has from the nursery. */
  readonly variables?: Readonly<Record<string, string>> | undefined;
  readonly command: string;
  readonly args: readonly string[];
  /** Path of a link that is made where it executes a copy of the program, or tells somebody of it: lists of processes show that name. */
  readonly copyAt?: string | undefined;
}

/** A file system of its own. */
export interface NurseryMount {
  readonly type: string;
  /** What it calls itself where mounts are listed; default: its type. */
  readonly name?: string | undefined;
  readonly target: string;
  /** Options of the file system itself, as mount(2) takes them. */
  readonly data?: string | undefined;
  /** With device nodes and programs; never with programs of other users. */
  readonly withNodes?: boolean | undefined;
}

export type NurseryFile =
  /** A device of the host's: a character node, or the host's own bound there where the kernel lets nobody make nodes. */
  | {
      readonly kind: 'node';
      readonly path: string;
      readonly mode: number;
      readonly major: number;
      readonly minor: number;
      readonly source: string;
    }
  | { readonly kind: 'link'; readonly path: string; readonly target: string }
  /** Empty: something is to be mounted on it. */
  | { readonly kind: 'file'; readonly path: string };

export type NamespaceKind = keyof typeof NAMESPACES;

/** Flags of clone(2). */
export const NAMESPACES = { mount: 0x2_0000, pid: 0x2000_0000, net: 0x4000_0000 };
/** Of clone(2): what the parent is told by when it ends. */
export const SIGCHLD = 17;
/** Flags of mount(2). */
const NOSUID = 2;
const NODEV_NOEXEC = 4 | 8;

/** Length of what follows, then the words, each with a zero behind it. */
export function encodeRequest(request: NurseryRequest): Buffer {
  const { id, stderr, appends = false, cgroupProcs = [], gate = '', hold = false, keepsGate = false, link } = request;
  const { namespaces, mounts, files = [], variables = {}, cwd = '', programs = [] } = request;
  const flags = namespaces.reduce((all, kind) => all | NAMESPACES[kind], SIGCHLD);
  const words = [
    String(id),
    String(flags),
    stderr,
    appends ? '1' : '',
    gate,
    hold ? '1' : '',
    keepsGate ? '1' : '',
    link?.path ?? '',
    link?.why ?? '',
    String(cgroupProcs.length),
    ...cgroupProcs,
    String(programs.length),
    ...programs.flatMap(({ place, directory }) => [String(place), directory]),
    namespaces.includes('mount') ? '1' : '',
    String(mounts.length),
    ...mounts.flatMap(({ type, name = type, target, data = '', withNodes = false }) => [
      name,
      type,
      target,
      String(withNodes ? NOSUID : NOSUID | NODEV_NOEXEC),
      data,
    ]),
    String(files.length),
    ...files.flatMap(wordsOfFile),
    String(Object.keys(variables).length),
    ...Object.entries(variables).flat(),
    cwd,
    request.copyAt ?? '',
    request.command,
    ...request.args,
  ];
  return encodeWords(words);
}

/** A BPF program that children attach to groups. */
export interface NurseryProgram extends BpfKind {
  /** The kernel's form of it, in hexadecimal digits. */
  readonly code: string;
}

/** Words for the nursery's program: what it copies, if anything, and the BPF programs. */
export function nurseryArguments(program: string | undefined, programs: readonly NurseryProgram[]): string[] {
  const encoded = programs.map(({ programType, attachType, name, code }) =>
    [programType, attachType, name, code].join(':'),
  );
  return program === undefined && encoded.length === 0 ? [] : [program ?? '', ...encoded];
}

/** Asks for a spare, which waits for its request at its gate. */
export function encodeSpare({ id, gate }: { readonly id: number; readonly gate: string }): Buffer {
  return encodeWords([String(id), SPARE, gate]);
}

function encodeWords(words: readonly string[]): Buffer {
  const body = Buffer.from(words.map((word) => `${word}\0`).join(''));
  return Buffer.concat([Buffer.from(`${body.length}\n`), body]);
}

function wordsOfFile(file: NurseryFile): string[] {
  if (file.kind === 'file') return ['file', file.path, '', '', ''];
  if (file.kind === 'link') return ['link', file.path, file.target, '', ''];
  const { path, source, mode, major, minor } = file;
  // As the kernel has device numbers in 32 bits.
  const number = ((minor >> 8) * 2 ** 20) | (major << 8) | (minor & 0xff);
  return ['node', path, source, String(mode), String(number)];
}

/** In the place of a request's flags. */
export const SPARE = 'spare';

export type NurseryEvent =
  /** It has been made: `pid` as this host's /proc numbers it. */
  | { readonly id: number; readonly type: 'runs'; readonly pid: number }
  | { readonly id: number; readonly type: 'refused'; readonly why: string }
  /** As waitpid(2) says: exit status above, signal below. */
  | { readonly id: number; readonly type: 'ended'; readonly status: number };

/** Undefined for a line that is none of its. */
export function parseEvent(line: string): NurseryEvent | undefined {
  const [, number, type, rest = ''] = /^(\d+) (runs|refused|ended) (.*)$/.exec(line) ?? [];
  const id = Number(number);
  if (type === 'runs') return { id, type, pid: Number(rest) };
  if (type === 'refused') return { id, type, why: rest };
  if (type === 'ended') return { id, type, status: Number(rest) };
  return undefined;
}
