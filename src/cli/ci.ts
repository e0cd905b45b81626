/** `nestling ci`: makes a CI container fit for guests, collects what a bug report needs, and writes configurations to begin with. */
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { carryOut, undoAll } from '../ci/carry-out.ts';
import { readCiFacts } from '../ci/facts.ts';
import { type CiOptions, planCi } from '../ci/plan.ts';
import { type CiStep, formatAction } from '../ci/step.ts';
import { TEMPLATES } from '../ci/templates.ts';
import { prepareRuntimeDir } from '../core/fs-runtime-dir.ts';
import { runCommand } from '../process/run-command.ts';
import { displayName, InputError, onePositional, parseChoice, parseOptions, readInput, UsageError } from './usage.ts';

const HELP = `Usage: nestling ci prepare [WHAT] [--user USER] [--dry-run | --undo] [--json]
       nestling ci debug [--output FOLDER] [--tar] [GUEST.xml]
       nestling ci init ${Object.keys(TEMPLATES).join('|')} [--output FILE|-] [--force]

  prepare   makes a plain CI container fit for guests; prints what it does, does it once, and can give it back
  debug     collects what a bug report needs into one folder, without secrets
  init      writes a small, commented, working configuration

What prepare does (unless some are named: all but services, as far as it applies):
      --kvm                groups kvm and libvirt, /dev/kvm and /dev/net/tun with their modes
      --firewall           the iptables that the kernel has (legacy or nft), and IP forwarding
      --cgroups[=move]     controllers for child groups on cgroup v2; 'move' moves processes of other programs too
      --services           dbus-daemon, virtlogd, virtlockd where qemu.conf has it, and libvirtd (or virtqemud),
                           in order, for those who use real libvirt
      --daemon WHICH       which daemon --services starts: libvirt

Options:
      --user USER          who will run guests: gets into the groups
      --dry-run            prints the plan, changes nothing
      --undo               gives back what an earlier prepare changed
      --host               also outside of a container
      --output PATH        where debug and init write
      --tar                debug makes FOLDER.tar.gz as well
      --force              init overwrites
      --json               the plan as JSON
  -h, --help               this text

Exit status: 0 done; 1 something could not be done (the message says why); 2 wrong usage.
`;

const OPTIONS = {
  kvm: { type: 'boolean' },
  firewall: { type: 'boolean' },
  cgroups: { type: 'boolean' },
  'cgroups-move': { type: 'boolean' },
  services: { type: 'boolean' },
  daemon: { type: 'string' },
  user: { type: 'string' },
  'dry-run': { type: 'boolean' },
  undo: { type: 'boolean' },
  host: { type: 'boolean' },
  output: { type: 'string' },
  force: { type: 'boolean' },
  tar: { type: 'boolean' },
  json: { type: 'boolean' },
  help: { type: 'boolean', short: 'h' },
} as const;

/** In the runtime directory: what was done, for --undo. */
const STATE_FILE = 'ci-prepared.json';

type Values = ReturnType<typeof parseOptions<typeof OPTIONS>>['values'];

export async function main(args: string[]): Promise<number> {
  // An option with a value that may be left out is not one that the parser knows.
  const words = args.map((word) => (word === '--cgroups=move' ? '--cgroups-move' : word));
  const { values, positionals } = parseOptions(words, OPTIONS);
  const [command, ...rest] = positionals;
  if (values.help === true) {
    process.stdout.write(HELP);
    return 0;
  }
  if (command === 'prepare') return await prepare(values, rest);
  if (command === 'debug') return await debug(values, rest);
  if (command === 'init') return init(values, rest);
  throw new UsageError(command === undefined ? 'prepare, debug or init is missing' : `there is no 'ci ${command}'`);
}

async function prepare(values: Values, rest: readonly string[]): Promise<number> {
  if (rest[0] !== undefined) throw new UsageError(`unexpected argument '${rest[0]}'`);
  const daemon =
    values.daemon === undefined ? 'libvirt' : parseChoice(values.daemon, ['libvirt', 'nestling'], '--daemon');
  if (daemon === 'nestling')
    throw new UsageError(
      'this version has no daemon of its own: use --daemon libvirt, or run guests without one (nestling run)',
    );
  if (values.undo === true) return await undo(join(prepareRuntimeDir(), STATE_FILE));
  const facts = await readCiFacts();
  const steps = planCi(facts, optionsOf(values));
  if (values.json === true) process.stdout.write(`${JSON.stringify({ steps }, undefined, 2)}\n`);
  else for (const step of steps) process.stdout.write(formatStep(step));
  if (values['dry-run'] === true) return 0;
  requireMayChange(facts.uid, facts.container, values);
  const refused = await carryOut(steps, {
    stateFile: join(prepareRuntimeDir(), STATE_FILE),
    logFolder: '/var/log/nestling',
    onStep: (step, outcome) => {
      if (values.json !== true && outcome === 'done') process.stdout.write(`${step.title}: done\n`);
    },
  });
  // What was not asked for by name need not be possible here.
  return refused.some(({ id }) => id === 'user-groups' || namesSteps(values)) ? 1 : 0;
}

/** Nobody changes a machine of somebody's own by accident. */
function requireMayChange(uid: number, container: string | undefined, values: Values): void {
  if (container === undefined && values.host !== true) {
    throw new InputError(
      'this does not look like a container; with --host its groups, device modes and firewall are changed all the same, --dry-run shows what',
    );
  }
  if (uid !== 0) throw new InputError('this takes root: run it with sudo, or as a step of the image');
}

async function undo(stateFile: string): Promise<number> {
  if (!existsSync(stateFile)) {
    process.stdout.write('nothing to give back\n');
    return 0;
  }
  const { undone, problems } = await undoAll({ stateFile });
  for (const id of undone) process.stdout.write(`${id}: given back\n`);
  for (const problem of problems) process.stderr.write(`nestling ci: ${problem}\n`);
  return problems.length > 0 ? 1 : 0;
}

function namesSteps({ kvm, firewall, services, cgroups, 'cgroups-move': moves }: Values): boolean {
  return [kvm, firewall, services, cgroups, moves].includes(true);
}

function optionsOf(values: Values): CiOptions {
  const { kvm, firewall, services, cgroups, user } = values;
  const moveForeign = values['cgroups-move'] === true;
  const all = !namesSteps(values);
  return {
    kvm: kvm === true || all,
    firewall: firewall === true || all,
    services: services === true,
    cgroups: cgroups === true || moveForeign || all,
    moveForeign,
    user,
  };
}

function formatStep({ title, why, done, refusal, actions, note }: CiStep): string {
  const more = note === undefined ? '' : `  note: ${note}\n`;
  if (done) return `${title}: already\n${more}`;
  if (refusal !== undefined) return `${title}: not done: ${refusal}\n${more}`;
  return `${title}   (${why})\n${indent(actions.map((action) => `${formatAction(action)}\n`).join(''))}${more}`;
}

function indent(text: string): string {
  return text.replace(/^(?=.)/gm, '  ');
}

async function debug(values: Values, rest: readonly string[]): Promise<number> {
  const { collectDebug } = await import('../ci/debug.ts');
  const folder = values.output ?? `nestling-debug-${new Date().toISOString().slice(0, 19).replaceAll(':', '')}`;
  const path = rest.length === 0 ? undefined : onePositional(rest, 'the definition');
  const guest = path === undefined ? undefined : { xml: await readInput(path), name: displayName(path) };
  const missing = await collectDebug({ folder, guest });
  for (const line of missing) process.stderr.write(`nestling ci: without ${line}\n`);
  process.stdout.write(`${folder}: look through it before you send it (README.txt lists what is in it)\n`);
  return values.tar === true ? await pack(folder) : 0;
}

async function pack(folder: string): Promise<number> {
  const path = resolve(folder);
  const words = ['-czf', `${path}.tar.gz`, '-C', dirname(path), basename(path)];
  const { status, stderr, error } = await runCommand('tar', words);
  if (status !== 0) throw new InputError(`cannot pack ${path}: ${stderr.trim() || (error?.message ?? '')}`);
  process.stdout.write(`${path}.tar.gz\n`);
  return 0;
}

function init(values: Values, rest: readonly string[]): number {
  const kind = onePositional(rest, `the CI system (${Object.keys(TEMPLATES).join(', ')})`);
  const template = TEMPLATES[parseChoice(kind, Object.keys(TEMPLATES), 'init')];
  if (template === undefined) throw new UsageError(`there is no template for ${kind}`);
  const path = values.output ?? template.file;
  if (path === '-') {
    process.stdout.write(template.content);
    return 0;
  }
  if (existsSync(path) && values.force !== true)
    throw new InputError(`${path} is there already: --force overwrites it, --output writes elsewhere`);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, template.content);
  process.stdout.write(`wrote ${path}; next: ${template.next}\n`);
  return 0;
}
