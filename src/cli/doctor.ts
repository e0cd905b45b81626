/** `nestling doctor`: what is wrong with this host, with one definition, or what a message means. */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { type DoctorHost, type Finding, realHost } from '../doctor/finding.ts';
import { checkHost } from '../doctor/host-checks.ts';
import { explain, nearestSymptom } from '../doctor/knowledge.ts';
import { type Mended, mendFindings } from '../doctor/mend.ts';
import { formatFindings, formatSummary } from '../doctor/report.ts';
import { findProgram } from '../process/find-program.ts';
import { runCommand } from '../process/run-command.ts';
import { VERSION } from '../version.ts';
import { displayName, InputError, parseChoice, parseOptions, readInput, UsageError } from './usage.ts';

const HELP = `Usage: nestling doctor [OPTIONS] [GUEST.xml]
       nestling doctor --explain TEXT|FILE

Checks what guests need of this host, and with GUEST.xml why that guest does not start: its files along their whole
paths, its size, its console, and then the start itself, up to the guest's first instruction, as the user who runs it.
One line for each check; below warnings and failures, why it matters and the command that mends it.

Options:
      --explain TEXT   what a message of libvirt, QEMU, LXC or their helpers means, or the messages in a log file
      --user NAME      as that user (needs root)
      --accel WHICH    auto, kvm or tcg, instead of what the definition says
      --no-start       plans the guest, but does not start QEMU
      --no-host        only the guest
  -q, --quiet          only warnings and failures
      --fix            mends what is safe, and tells what was, what it runs and what is now: kernel modules, device
                       nodes, missing folders, sockets and pid files of dead daemons (as root); all else is printed
      --json           as JSON
  -h, --help           this text

Exit status: 0 nothing failed; 1 something failed, or a message is not known; 2 wrong usage.
`;

const OPTIONS = {
  explain: { type: 'string' },
  user: { type: 'string' },
  accel: { type: 'string' },
  'no-start': { type: 'boolean' },
  'no-host': { type: 'boolean' },
  quiet: { type: 'boolean', short: 'q' },
  fix: { type: 'boolean' },
  json: { type: 'boolean' },
  help: { type: 'boolean', short: 'h' },
} as const;

/** Loading a module waits for its hardware. */
const MEND_TIMEOUT_MS = 30_000;

type Values = ReturnType<typeof parseOptions<typeof OPTIONS>>['values'];

export async function main(args: string[]): Promise<number> {
  const { values, positionals } = parseOptions(args, OPTIONS);
  if (values.help === true) {
    process.stdout.write(HELP);
    return 0;
  }
  if (positionals[1] !== undefined) throw new UsageError(`unexpected argument '${positionals[1]}'`);
  if (values.explain !== undefined) return await explainText(values.explain, values);
  if (values.user !== undefined) return await runAsUser(values.user, args, positionals[0]);
  const host = realHost();
  const found = values['no-host'] === true ? [] : await checkHost(host);
  const { findings: ofHost, mended } =
    values.fix === true ? await mend(host, found) : { findings: found, mended: [] as readonly string[] };
  const findings = [...ofHost];
  const [path] = positionals;
  if (path !== undefined) findings.push(...(await checkDefinition(host, path, values)));
  else if (values['no-host'] === true) throw new UsageError('--no-host needs a definition');
  report(findings, mended, values);
  return findings.some(({ verdict }) => verdict === 'fail') ? 1 : 0;
}

/** Runs what is safe, and looks again. */
async function mend(host: DoctorHost, found: readonly Finding[]): Promise<Mended> {
  return await mendFindings(found, {
    run: async (command) => {
      const { status, stderr, error } = await runCommand('sh', ['-c', command], { timeout: MEND_TIMEOUT_MS });
      return status === 0 ? undefined : stderr.trim() || (error?.message ?? `exit ${status}`);
    },
    recheck: async () => await checkHost(host),
    say: (line) => void process.stderr.write(`nestling doctor: ${line}\n`),
  });
}

async function checkDefinition(host: DoctorHost, path: string, values: Values): Promise<Finding[]> {
  const [{ checkGuest }, { QemuDriver }, { LxcDriver }, { openSiblings }, { qemuPerson }, { loadSettings }] =
    await Promise.all([
      import('../doctor/guest-checks.ts'),
      import('../driver/qemu/runtime/qemu-driver.ts'),
      import('../driver/lxc/runtime/lxc-driver.ts'),
      import('../driver/open-siblings.ts'),
      import('../driver/qemu/security/qemu-person.ts'),
      import('../driver/qemu/settings-files.ts'),
    ]);
  const accel = values.accel === undefined ? undefined : parseChoice(values.accel, ['auto', 'kvm', 'tcg'], '--accel');
  return await checkGuest(host, {
    xml: await readInput(path),
    fileName: displayName(path),
    start: values['no-start'] !== true,
    person: qemuPerson((await loadSettings())?.config),
    openDriver: () => QemuDriver.open({ version: VERSION }),
    openContainers: () => LxcDriver.open({ version: VERSION, openSiblings }),
    accel,
  });
}

function report(findings: readonly Finding[], mended: readonly string[], values: Values): void {
  if (values.json === true) {
    process.stdout.write(`${JSON.stringify({ findings, mended }, undefined, 2)}\n`);
    return;
  }
  const colour = process.stdout.isTTY && (process.env['NO_COLOR'] ?? '') === '';
  const shown = values.quiet === true ? findings.filter(({ verdict }) => verdict !== 'pass') : findings;
  process.stdout.write(formatFindings(shown, { colour }));
  process.stdout.write(formatSummary(findings));
}

/** The same command as somebody else, who need not be able to read the definition. */
async function runAsUser(user: string, args: readonly string[], path: string | undefined): Promise<number> {
  if (process.geteuid?.() !== 0) throw new UsageError('--user needs root');
  const input = path === undefined ? '' : await readInput(path);
  const rest = args.filter(
    (word, index) => word !== '--user' && args[index - 1] !== '--user' && !word.startsWith('--user='),
  );
  const words = rest.map((word) => (word === path ? '-' : word));
  const program = [process.execPath, process.argv[1] ?? '', 'doctor', ...words];
  const id = (option: string): string => spawnSync('id', [option, user], { encoding: 'utf8' }).stdout.trim();
  const [uid, gid] = [id('-u'), id('-g')];
  if (uid === '') throw new InputError(`there is no user '${user}'`);
  const options = ['--reuid', uid, '--regid', gid, '--init-groups', '--reset-env'];
  const { status, error } = spawnSync(findProgram('setpriv'), [...options, ...program], {
    input,
    stdio: ['pipe', 'inherit', 'inherit'],
  });
  if (error !== undefined) throw new InputError(`cannot run as ${user}: ${error.message}`);
  return status ?? 1;
}

async function explainText(text: string, values: Values): Promise<number> {
  const isFile = existsSync(text) || text === '-';
  const found = explain(isFile ? await readInput(text) : text);
  if (values.json === true) {
    const items = found.map(({ symptom: { id, cause, fix }, line, text: words }) => ({
      id,
      cause,
      fix,
      line,
      text: words,
    }));
    process.stdout.write(`${JSON.stringify(items, undefined, 2)}\n`);
    return found.length > 0 ? 0 : 1;
  }
  for (const { symptom, line, text: words } of found) {
    process.stdout.write(
      `${isFile ? `${displayName(text)}:${line}: ${words}\n` : ''}cause: ${symptom.cause}\nfix:   ${symptom.fix}\n`,
    );
    if (found.length > 1) process.stdout.write('\n');
  }
  if (found.length > 0) return 0;
  const nearest = isFile ? undefined : nearestSymptom(text);
  process.stderr.write(
    `nestling doctor: ${isFile ? `no known message in ${displayName(text)}` : 'this message is not known'}\n`,
  );
  if (nearest !== undefined) process.stderr.write(`It may be about this: ${nearest.cause}\n  fix: ${nearest.fix}\n`);
  process.stderr.write("'nestling doctor' checks this host, 'nestling doctor GUEST.xml' one definition.\n");
  return 1;
}
