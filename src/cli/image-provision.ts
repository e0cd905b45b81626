/** `nestling image provision`: users, keys, sshd, banners and packages of a root before its first boot. */

import type { ProvisionRequest } from '../rootfs/plan-provision.ts';
import { provision } from '../rootfs/provision.ts';
import { ProgressLine } from './progress-line.ts';
import { InputError, onePositional, parseOptions, readInput, readInputFile, UsageError } from './usage.ts';

const HELP = `Usage: nestling image provision [OPTIONS] IMAGE|DIRECTORY

Changes a root before its first boot: DIRECTORY in place, IMAGE into a new one of the same name (or --save NAME). Doing it
again changes nothing more. Links inside the root lead no write outside. Users are made by the root's own useradd where
that works, else by editing its files; the result is the same.

Options:
      --user NAME:UID[:GID[:GROUP,...]]   a user with those numbers; may be given again
      --group NAME:GID                    a group; may be given again
      --no-home                           homes come from elsewhere: do not make them
      --authorized-keys FILE              public keys of those users (of root without any)
      --sudo NAME                         may do everything without a password; may be given again
      --accept-env LIST                   variables that sshd takes from clients: '*', or CI,BUILD_*
      --issue-banner                      addresses on consoles (/etc/issue) and for the network (/etc/issue.net)
      --hostname NAME
      --nameserver ADDRESS                for its resolv.conf; may be given again
      --packages LIST                     installed by its own manager (apt, dnf, yum, pacman, apk, zypper)
      --config FILE                       all this as JSON ('-': standard input); options are added to it:
                                          {"users": [{"name": "abuild", "uid": 399, "gid": 399, "groups": ["sudo"]}],
                                           "groups": [{"name": "ci", "gid": 400}], "authorizedKeys": ["ssh-ed25519 …"],
                                           "sudo": ["abuild"], "acceptEnv": ["*"], "issueBanner": true, "noHome": true,
                                           "hostname": "x", "nameservers": ["10.0.3.1"], "packages": ["bash", "sudo"]}
      --edit-only                         do not try useradd and groupadd
      --save NAME                         name of the new image
      --arch ARCH                         which image
  -h, --help                              this text
`;

const OPTIONS = {
  user: { type: 'string', multiple: true },
  group: { type: 'string', multiple: true },
  'no-home': { type: 'boolean' },
  'authorized-keys': { type: 'string' },
  sudo: { type: 'string', multiple: true },
  'accept-env': { type: 'string', multiple: true },
  'issue-banner': { type: 'boolean' },
  hostname: { type: 'string' },
  nameserver: { type: 'string', multiple: true },
  packages: { type: 'string', multiple: true },
  config: { type: 'string' },
  'edit-only': { type: 'boolean' },
  save: { type: 'string' },
  arch: { type: 'string' },
  help: { type: 'boolean', short: 'h' },
} as const;

export async function main(args: string[]): Promise<number> {
  const { values, positionals } = parseOptions(args, OPTIONS);
  if (values.help === true) {
    process.stdout.write(HELP);
    return 0;
  }
  const target = onePositional(positionals, 'the image or directory');
  const file: ProvisionRequest =
    values.config === undefined ? {} : parseConfig(await readInput(values.config), values.config);
  const keys = values['authorized-keys'] === undefined ? [] : readKeys(values['authorized-keys']);
  const request: ProvisionRequest = {
    users: [...(file.users ?? []), ...(values.user ?? []).map(parseUser)],
    groups: [...(file.groups ?? []), ...(values.group ?? []).map(parseGroup)],
    authorizedKeys: [...(file.authorizedKeys ?? []), ...keys],
    sudo: [...(file.sudo ?? []), ...(values.sudo ?? [])],
    acceptEnv: [...(file.acceptEnv ?? []), ...splitLists(values['accept-env'])],
    nameservers: [...(file.nameservers ?? []), ...(values.nameserver ?? [])],
    packages: [...(file.packages ?? []), ...splitLists(values.packages)],
    noHome: values['no-home'] ?? file.noHome,
    issueBanner: values['issue-banner'] ?? file.issueBanner,
    interfaces: file.interfaces,
    hostname: values.hostname ?? file.hostname,
  };
  using progress = new ProgressLine(process.stderr);
  const image = await provision(target, request, {
    save: values.save,
    arch: values.arch,
    editOnly: values['edit-only'],
    onLine: (line) => progress.show(line),
    onNote: (note) => progress.note(`nestling image: ${note}`),
  });
  progress.clear();
  if (image !== undefined) process.stdout.write(`${image.name} ${image.arch} ${image.key.slice(0, 12)}\n`);
  return 0;
}

function parseUser(text: string): { name: string; uid: number; gid: number; groups: string[] } {
  const [name = '', uid, gid, groups = '', more] = text.split(':');
  if (uid === undefined || more !== undefined)
    throw new UsageError(`--user takes NAME:UID[:GID[:GROUPS]], not '${text}'`);
  return {
    name,
    uid: parseId(uid, text),
    gid: parseId(gid ?? uid, text),
    groups: groups.split(',').filter((group) => group !== ''),
  };
}

function parseGroup(text: string): { name: string; gid: number } {
  const [name = '', gid, more] = text.split(':');
  if (gid === undefined || more !== undefined) throw new UsageError(`--group takes NAME:GID, not '${text}'`);
  return { name, gid: parseId(gid, text) };
}

function parseId(text: string, whole: string): number {
  if (/^\d{1,10}$/.test(text)) return Number(text);
  throw new UsageError(`'${text}' in '${whole}' is no number of a user or group`);
}

function readKeys(path: string): string[] {
  const lines = readInputFile(path)
    .toString('utf8')
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#'));
  const isSecret = lines.some((line) => line.includes('PRIVATE KEY'));
  if (isSecret) throw new InputError(`${path} is a private key; the public one is beside it (.pub)`);
  if (lines.length === 0) throw new InputError(`${path} has no key`);
  return lines;
}

function splitLists(texts: readonly string[] = []): string[] {
  return texts.flatMap((text) => text.split(/[,\s]+/).filter((word) => word !== ''));
}

/** Each field has its kind; what is misspelt is said, not passed over. */
const KINDS: Readonly<Record<keyof ProvisionRequest, (value: unknown) => boolean>> = {
  users: (value) => isListOf(value, (item) => hasFields(item, { name: 'string', uid: 'number', gid: 'number' })),
  groups: (value) => isListOf(value, (item) => hasFields(item, { name: 'string', gid: 'number' })),
  authorizedKeys: isTexts,
  sudo: isTexts,
  acceptEnv: isTexts,
  nameservers: isTexts,
  interfaces: isTexts,
  packages: isTexts,
  noHome: (value) => typeof value === 'boolean',
  issueBanner: (value) => typeof value === 'boolean',
  hostname: (value) => typeof value === 'string',
};

function parseConfig(text: string, name: string): ProvisionRequest {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new InputError(`${name} is no JSON: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
  if (!isRequest(value, name)) throw new InputError(`${name} is no JSON object`);
  return value;
}

function isRequest(value: unknown, name: string): value is ProvisionRequest {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false;
  for (const [field, content] of Object.entries(value)) {
    const kind = Object.entries(KINDS).find(([known]) => known === field)?.[1];
    if (kind === undefined)
      throw new InputError(
        `${name} has a field '${field}' that is not known; known are ${Object.keys(KINDS).join(', ')}`,
      );
    if (!kind(content))
      throw new InputError(`${name}: '${field}' is not as 'nestling image provision --help' shows it`);
  }
  return true;
}

function isTexts(value: unknown): boolean {
  return isListOf(value, (item) => typeof item === 'string');
}

function isListOf(value: unknown, isItem: (item: unknown) => boolean): boolean {
  return Array.isArray(value) && value.every(isItem);
}

function hasFields(value: unknown, fields: Readonly<Record<string, string>>): boolean {
  if (typeof value !== 'object' || value === null) return false;
  const own: Readonly<Record<string, unknown>> = { ...value };
  return Object.entries(fields).every(([name, type]) => typeof own[name] === type);
}
