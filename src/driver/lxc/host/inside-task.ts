/**
 * What is done in the mount namespace of a running container, and the program of the thread that does it. The thread's function is sent as text:
 * it may use nothing but its parameters. Who starts it is `mount-namespace.ts`.
 */
import type * as nodeFs from 'node:fs';

/** Paths called `target` are the container's, all others the host's. */
export type InsideTask =
  /** A tree of the host's, or a single file. */
  | { readonly kind: 'bind'; readonly source: string; readonly readonly: boolean; readonly target: string }
  /** A file system on a block device of the host's. */
  | {
      readonly kind: 'device';
      readonly source: string;
      readonly type: string;
      readonly readonly: boolean;
      readonly target: string;
    }
  | { readonly kind: 'memory'; readonly bytes: number; readonly readonly: boolean; readonly target: string }
  /** A device node, which works in user namespaces too. */
  | {
      readonly kind: 'node';
      readonly type: 'b' | 'c';
      readonly major: number;
      readonly minor: number;
      readonly mode: number;
      readonly target: string;
    }
  /** What is mounted there goes when its last user lets go of it. `andFile`: so does the node under it. */
  | { readonly kind: 'unmount'; readonly target: string; readonly andFile: boolean };

export interface InsideInput {
  readonly task: InsideTask;
  /** Descriptor of the container's mount namespace. */
  readonly namespace: number;
  /** User and group that the container's root is on the host. */
  readonly owner: readonly [uid: number, gid: number];
}

/** `call` failed; `errno` is the system's number. */
export interface InsideFailure {
  readonly call: string;
  readonly errno: number;
}

/** What of koffi the thread needs. */
export interface SystemCalls {
  load(path: null): {
    func(name: string, result: string, parameters: readonly string[]): (...args: unknown[]) => number;
  };
  errno(): number;
}

/**
 * Runs in a thread of its own, which changes its root and ends. The mount is made in a private copy of the host's namespace and taken from there
 * as a descriptor; then the thread enters the container's namespace, where every path, links included, is looked up below the container's root.
 * Nothing of the container's is executed.
 */
export function carryOutInside(
  koffi: SystemCalls,
  fs: Pick<
    typeof nodeFs,
    'chownSync' | 'closeSync' | 'existsSync' | 'mkdirSync' | 'openSync' | 'realpathSync' | 'statSync' | 'unlinkSync'
  >,
  { task, namespace, owner }: InsideInput,
): InsideFailure | undefined {
  const AT_FDCWD = -100;
  const AT_EMPTY_PATH = 0x1000;
  const AT_RECURSIVE = 0x8000;
  const [CLONE_FS, CLONE_NEWNS] = [0x200, 0x20000];
  const [MS_RDONLY, MS_REC, MS_PRIVATE] = [1, 0x4000, 1 << 18];
  const MS_NODEV = 4;
  const [OPEN_TREE_CLONE, MOVE_MOUNT_F_EMPTY_PATH] = [1, 4];
  const [MNT_DETACH, UMOUNT_NOFOLLOW] = [2, 8];
  /** The same numbers on every architecture. */
  const SYS = { openTree: 428, moveMount: 429, mountSetattr: 442 };
  /** Of the private copy: covered there, and nowhere else. */
  const STAGE = '/proc/sys/fs';
  const ENOTDIR = 20;
  const S_IF = { b: 0o060000, c: 0o020000 };

  const libc = koffi.load(null);
  const syscall = libc.func('syscall', 'long', ['long', '...']);
  const mount = libc.func('mount', 'int', ['str', 'str', 'str', 'ulong', 'str']);
  const failures: InsideFailure[] = [];
  // Of the process, not of this thread: left open it would keep the mount for as long as the process lives.
  const open: number[] = [];
  const fail = (call: string, errno: number): Error => {
    failures.push({ call, errno });
    return new Error(call);
  };
  const check = (call: string, result: number): number => {
    if (result < 0) throw fail(call, koffi.errno());
    return result;
  };

  try {
    check('unshare', libc.func('unshare', 'int', ['int'])(CLONE_FS | CLONE_NEWNS));
    check('mount', mount('none', '/', null, MS_REC | MS_PRIVATE, null));
    const [tree, isFile] = task.kind === 'unmount' ? [-1, false] : stage();
    check('setns', libc.func('setns', 'int', ['int', 'int'])(namespace, CLONE_NEWNS));
    becomeOwner();
    if (task.kind === 'unmount') takeAway(task.target, task.andFile);
    else put(tree, isFile, task.target);
    return undefined;
  } catch (error) {
    const [failure] = failures;
    if (failure !== undefined) return failure;
    if (!(error instanceof Error) || !('errno' in error) || typeof error.errno !== 'number') throw error;
    return { call: 'syscall' in error ? String(error.syscall) : 'open', errno: -error.errno };
  } finally {
    for (const fd of open) libc.func('close', 'int', ['int'])(fd);
  }

  /** @returns descriptor of a mount that is nowhere yet, and whether it is a single file */
  function stage(): [tree: number, isFile: boolean] {
    const access = 'readonly' in task && task.readonly ? MS_RDONLY : 0;
    let source = STAGE;
    switch (task.kind) {
      case 'bind':
        source = task.source;
        break;
      case 'device':
        check('mount', mount(task.source, STAGE, task.type, access | MS_NODEV, null));
        break;
      case 'memory':
        check(
          'mount',
          mount('tmpfs', STAGE, 'tmpfs', access | MS_NODEV, `size=${task.bytes},uid=${owner[0]},gid=${owner[1]}`),
        );
        break;
      case 'node': {
        check('mount', mount('devfs', STAGE, 'tmpfs', 0, 'mode=755,size=64k'));
        source = `${STAGE}/node`;
        const { major, minor } = task;
        const number =
          (BigInt(major & 0xfff) << 8n) |
          (BigInt(major & ~0xfff) << 32n) |
          BigInt(minor & 0xff) |
          (BigInt(minor & ~0xff) << 12n);
        const mknod = libc.func('mknod', 'int', ['str', 'uint', 'uint64']);
        check('mknod', mknod(source, S_IF[task.type], number));
        check('chmod', libc.func('chmod', 'int', ['str', 'uint'])(source, task.mode));
        fs.chownSync(source, owner[0], owner[1]);
      }
    }
    const isFile = !fs.statSync(source).isDirectory();
    const flags = OPEN_TREE_CLONE | (isFile ? 0 : AT_RECURSIVE);
    const tree = check('open_tree', syscall(SYS.openTree, 'int', AT_FDCWD, 'str', source, 'uint', flags));
    open.push(tree);
    const attributes = new BigUint64Array([BigInt(access), 0n, BigInt(MS_PRIVATE), 0n]);
    const recursive = AT_EMPTY_PATH | (isFile ? 0 : AT_RECURSIVE);
    const made = syscall(
      SYS.mountSetattr,
      'int',
      tree,
      'str',
      '',
      'uint',
      recursive,
      'void *',
      attributes,
      'size_t',
      32,
    );
    check('mount_setattr', made);
    return [tree, isFile];
  }

  function put(tree: number, isFile: boolean, target: string): void {
    fs.mkdirSync(isFile ? target.replace(/\/[^/]*$/, '') || '/' : target, { recursive: true });
    if (isFile && !fs.existsSync(target)) fs.closeSync(fs.openSync(target, 'wx', 0o600));
    const place = fs.realpathSync(target);
    if (fs.statSync(place).isDirectory() === isFile) throw fail('move_mount', ENOTDIR);
    const flags = MOVE_MOUNT_F_EMPTY_PATH;
    check('move_mount', syscall(SYS.moveMount, 'int', tree, 'str', '', 'int', AT_FDCWD, 'str', place, 'uint', flags));
  }

  /** Files of a user namespace can be made by its users only; and what is made for the container's root is to be its own. */
  function becomeOwner(): void {
    if (owner[0] === 0 && owner[1] === 0) return;
    libc.func('setfsgid', 'int', ['uint'])(owner[1]);
    libc.func('setfsuid', 'int', ['uint'])(owner[0]);
  }

  function takeAway(target: string, andFile: boolean): void {
    const place = fs.realpathSync(target);
    check('umount', libc.func('umount2', 'int', ['str', 'int'])(place, MNT_DETACH | UMOUNT_NOFOLLOW));
    if (andFile) fs.unlinkSync(place);
  }
}
