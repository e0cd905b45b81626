/**
 * Changes a root before its first boot, by `plan-provision.ts`. Files are written where the root's own programs would find them: links
 * inside it never lead a write outside.
 */
import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { ErrorCode } from '../core/errors.ts';
import { randomHex } from '../core/random.ts';
import { ACCOUNT_FILES, type AccountTexts, planAccounts, type UserSpec } from './accounts.ts';
import { explainBuilder } from './builder-words.ts';
import { requireImageName } from './image-name.ts';
import { failed, type Image, ImageStore, keyOfContent } from './image-store.ts';
import { resolveInRoot } from './path-in-root.ts';
import {
  type ProvisionRequest,
  planEdits,
  planPackages,
  ROOT_FEATURES,
  type RootFacts,
  type RootFeature,
} from './plan-provision.ts';
import { isFolderName, type RunResult, runInRoot } from './run-in-root.ts';
import { packFolder, unpackTarball } from './tarballs.ts';

export interface ProvisionOptions {
  readonly store?: ImageStore | undefined;
  /** For an image: the name of the changed one; default the same, whose newest it then is. */
  readonly save?: string | undefined;
  readonly arch?: string | undefined;
  /** Do not try the root's own useradd and groupadd. */
  readonly editOnly?: boolean | undefined;
  readonly onLine?: ((line: string) => void) | undefined;
  readonly onNote?: ((note: string) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Provisions a folder in place, or an image into a new one.
 * @returns the new image. @throws VirtError with what cannot be done; files are replaced as a whole, so that none is half written
 */
export async function provision(
  target: string,
  request: ProvisionRequest,
  options: ProvisionOptions = {},
): Promise<Image | undefined> {
  if (process.getuid?.() !== 0)
    throw failed(`provisioning ${target} needs root; run it with sudo`, ErrorCode.OPERATION_DENIED);
  if (isFolderName(target)) {
    const root = resolve(target);
    if (root === '/') throw failed('this is the root of the host itself', ErrorCode.INVALID_ARG);
    if (statSync(root, { throwIfNoEntry: false })?.isDirectory() !== true)
      throw failed(`there is no folder ${root}`, ErrorCode.INVALID_ARG);
    await provisionFolder(root, request, options);
    return undefined;
  }
  const store = options.store ?? new ImageStore();
  const name = requireImageName(options.save ?? target);
  const image = store.find(target, options.arch);
  await using work = store.openWorkFolder();
  const root = join(work.path, 'tree');
  mkdirSync(root, { mode: 0o755 });
  await unpackTarball(store.tarballOf(image), root, { signal: options.signal });
  await provisionFolder(root, request, { ...options, store, arch: image.arch });
  const { hash, tarball } = await packFolder(work.path, { folder: root }, options.signal);
  const { config } = image;
  return await store.publish(work.path, {
    key: keyOfContent(name, image.arch, hash),
    tarball,
    name,
    arch: image.arch,
    origin: `provisioned from ${image.name}`,
    ...(config && { config }),
  });
}

async function provisionFolder(root: string, request: ProvisionRequest, options: ProvisionOptions): Promise<void> {
  const { onNote = () => undefined } = options;
  const run = async (command: readonly string[], onLine?: (line: string) => void): Promise<RunResult> =>
    await runInRoot(root, command, {
      write: true,
      env: { DEBIAN_FRONTEND: 'noninteractive' },
      store: options.store,
      arch: options.arch,
      signal: options.signal,
      ...(onLine !== undefined && { onLine }),
    });
  for (const command of planPackages(request.packages ?? [], readFacts(root).has)) {
    const { status, words } = await run(command, options.onLine);
    if (status !== 0)
      throw failed(`${command[0]} in ${root} ended with status ${status}: ${explainBuilder(words).cause}`);
  }
  // They may have come with the packages.
  const facts = readFacts(root);
  const users = (request.users ?? []).map((user): UserSpec => ({ ...user, shell: user.shell ?? facts.shell }));
  await makeAccounts(root, { ...request, users }, { run, options });
  const { edits, notes } = planEdits(request, facts);
  for (const edit of edits) {
    if (edit.kind === 'file') writeInRoot(root, edit.path, edit.text, { mode: edit.mode });
    else linkInRoot(root, edit.path, edit.target);
  }
  if (request.noHome !== true) for (const user of users) makeHome(root, user);
  writeKeys(root, request, users);
  for (const note of notes) onNote(note);
}

function readFacts(root: string): RootFacts {
  const has = Object.fromEntries(
    Object.entries(ROOT_FEATURES).map(([name, paths]) => [
      name,
      paths.some((path) => existsSync(resolveInRoot(root, path))),
    ]),
  ) as Record<RootFeature, boolean>;
  return {
    shell: existsSync(resolveInRoot(root, '/bin/bash')) ? '/bin/bash' : '/bin/sh',
    sshdConfig: readInRoot(root, '/etc/ssh/sshd_config'),
    issue: readInRoot(root, '/etc/issue'),
    issueNet: readInRoot(root, '/etc/issue.net'),
    hosts: readInRoot(root, '/etc/hosts'),
    has,
  };
}

/** By the root's own tools where they work, and by editing what is then still missing: the result is the same. */
async function makeAccounts(
  root: string,
  { groups = [], users }: ProvisionRequest & { users: readonly UserSpec[] },
  { run, options }: { run: (command: readonly string[]) => Promise<RunResult>; options: ProvisionOptions },
): Promise<void> {
  if (groups.length + users.length === 0) return;
  const today = Math.floor(Date.now() / 86_400_000);
  const before = readAccounts(root);
  // All refusals first: nothing is half done then.
  const wanted = planAccounts(before, { groups, users, today });
  const hasTools =
    existsSync(resolveInRoot(root, '/usr/sbin/useradd')) && existsSync(resolveInRoot(root, '/usr/sbin/groupadd'));
  if (options.editOnly !== true && hasTools) {
    for (const command of accountCommands(before, wanted)) {
      // That a number is not one that it would have chosen is no news.
      const { status, words } = await run(command);
      if (status === 0) continue;
      const why = words === '' ? '' : ` (${explainBuilder(words).cause})`;
      options.onNote?.(`${command[0]} in ${root} ended with status ${status}${why}: editing the files instead`);
    }
  }
  const after = planAccounts(readAccounts(root), { groups, users, today });
  for (const file of ACCOUNT_FILES) {
    const text = after[file];
    const isSecret = file.endsWith('shadow');
    if (text !== undefined && text !== readInRoot(root, `/etc/${file}`))
      writeInRoot(root, `/etc/${file}`, text, { mode: isSecret ? 0o640 : 0o644 });
  }
}

/** What the difference is, as commands. */
function accountCommands(before: AccountTexts, wanted: AccountTexts): string[][] {
  const fresh = (file: 'passwd' | 'group'): string[][] => {
    const names = new Set((before[file] ?? '').split('\n').map((line) => line.split(':')[0]));
    return (wanted[file] ?? '')
      .split('\n')
      .map((line) => line.split(':'))
      .filter(([name = '']) => name !== '' && !names.has(name));
  };
  return [
    ...fresh('group').map(([name = '', , gid = '']) => ['groupadd', '-g', gid, name]),
    ...fresh('passwd').map(([name = '', , uid = '', gid = '', , home = '', shell = '']) => [
      'useradd',
      '-M',
      '-N',
      '-u',
      uid,
      '-g',
      gid,
      '-d',
      home,
      '-s',
      shell,
      name,
    ]),
  ];
}

function readAccounts(root: string): AccountTexts {
  const read = (file: string): string | undefined => readInRoot(root, `/etc/${file}`);
  return { passwd: read('passwd'), shadow: read('shadow'), group: read('group'), gshadow: read('gshadow') };
}

/** With what new homes have, if there is no home yet. */
function makeHome(root: string, { name, uid, gid, home = `/home/${name}` }: UserSpec): void {
  const path = resolveInRoot(root, home);
  if (existsSync(path)) return;
  mkdirSync(path, { recursive: true, mode: 0o755 });
  chownSync(path, uid, gid);
  const skeleton = resolveInRoot(root, '/etc/skel');
  if (!existsSync(skeleton)) return;
  for (const entry of readdirSync(skeleton, { withFileTypes: true }).filter((found) => found.isFile())) {
    writeInRoot(root, `${home}/${entry.name}`, readFileSync(join(skeleton, entry.name), 'utf8'), {
      mode: 0o644,
      uid,
      gid,
    });
  }
}

/** sshd refuses keys in files and folders that others can write to. */
function writeKeys(root: string, { authorizedKeys = [] }: ProvisionRequest, users: readonly UserSpec[]): void {
  if (authorizedKeys.length === 0) return;
  const owners = users.length > 0 ? users : [{ name: 'root', uid: 0, gid: 0, home: '/root' }];
  for (const { name, uid, gid, home = `/home/${name}` } of owners) {
    const folder = resolveInRoot(root, `${home}/.ssh`);
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    chmodSync(folder, 0o700);
    chownSync(folder, uid, gid);
    const path = `${home}/.ssh/authorized_keys`;
    const there = (readInRoot(root, path) ?? '').split('\n').filter((line) => line !== '');
    const all = [...there, ...authorizedKeys.filter((key) => !there.includes(key))];
    writeInRoot(root, path, `${all.join('\n')}\n`, { mode: 0o600, uid, gid });
  }
}

function readInRoot(root: string, path: string): string | undefined {
  const real = resolveInRoot(root, path);
  return lstatSync(real, { throwIfNoEntry: false })?.isFile() === true ? readFileSync(real, 'utf8') : undefined;
}

/** Replaces a file as a whole. Owner and mode of one that is there stay, unless an owner is given. */
function writeInRoot(
  root: string,
  path: string,
  text: string,
  { mode, uid, gid }: { mode: number; uid?: number; gid?: number },
): void {
  const real = resolveInRoot(root, path);
  const before = lstatSync(real, { throwIfNoEntry: false });
  if (before !== undefined && !before.isFile())
    throw failed(`${path} in ${root} is no file`, ErrorCode.OPERATION_INVALID);
  mkdirSync(dirname(real), { recursive: true, mode: 0o755 });
  const temporary = `${real}.${randomHex(6)}`;
  try {
    writeFileSync(temporary, text, { flag: 'wx', mode });
    chmodSync(temporary, uid === undefined ? (before?.mode ?? mode) & 0o7777 : mode);
    chownSync(temporary, uid ?? before?.uid ?? 0, gid ?? before?.gid ?? 0);
    renameSync(temporary, real);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
}

function linkInRoot(root: string, path: string, target: string): void {
  const folder = resolveInRoot(root, dirname(path));
  mkdirSync(folder, { recursive: true, mode: 0o755 });
  const link = join(folder, path.slice(path.lastIndexOf('/') + 1));
  if (lstatSync(link, { throwIfNoEntry: false }) === undefined) symlinkSync(target, link);
}
