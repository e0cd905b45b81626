/**
 * Debian's libvirt as an embedded driver (no daemon), asked for the QEMU command lines of many domains in one batch
 * session of virsh: 1,000 of them take about 5 s.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** What libvirt makes of one domain: a command line, or its refusal. */
export interface Verdict {
  readonly command?: string;
  readonly error?: string;
}

const DRIVER = '/usr/lib/x86_64-linux-gnu/libvirt/connection-driver/libvirt_driver_qemu.so';
/** Longest session. */
const PATIENCE_MS = 90_000;

/** Why libvirt cannot be asked here; undefined where it can. */
export function libvirtProblem(emulator: string): string | undefined {
  if (spawnSync('virsh', ['--version']).status !== 0) return 'virsh is not installed (libvirt-clients)';
  if (!existsSync(DRIVER)) return `${DRIVER} is not installed (libvirt-daemon)`;
  if (!existsSync(emulator)) return `${emulator} is not installed (qemu-system-x86)`;
  // Its driver begins with this, whatever the configuration says.
  if (spawnSync('id', ['libvirt-qemu']).status !== 0) return 'no user libvirt-qemu (libvirt-daemon-system)';
  return process.getuid?.() === 0 ? undefined : 'only root can open the embedded driver';
}

/** Verdicts by name. A domain at which libvirt itself crashes ends the session: it and what follows have none. */
export function askLibvirt(domains: ReadonlyMap<string, string>): Map<string, Verdict> {
  const root = mkdtempSync(join(tmpdir(), 'nestling-libvirt-'));
  try {
    mkdirSync(join(root, 'etc'));
    // Its usual user for guests would have to own the whole path.
    writeFileSync(join(root, 'etc/qemu.conf'), 'user = "root"\ngroup = "root"\n');
    const commands = [...domains].map(([name, xml]) => {
      writeFileSync(join(root, `${name}.xml`), xml);
      return `echo ==${name}==\ndomxml-to-native qemu-argv ${root}/${name}.xml\n`;
    });
    // One stream, so that each error follows its command.
    const session = spawnSync('sh', ['-c', 'exec virsh -c "$1" 2>&1', 'virsh', `qemu:///embed?root=${root}`], {
      input: commands.join(''),
      encoding: 'utf8',
      timeout: PATIENCE_MS,
      maxBuffer: 1 << 28,
    });
    const verdicts = readVerdicts(session.stdout.replaceAll(root, '/ROOT'));
    const [last] = [...verdicts.keys()].slice(-1);
    if (session.status !== 0 && last !== undefined) verdicts.delete(last);
    return verdicts;
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
}

function readVerdicts(output: string): Map<string, Verdict> {
  const [, ...parts] = output.split(/^==([^=\n]+)==$/m);
  const verdicts = new Map<string, Verdict>();
  for (let index = 0; index + 1 < parts.length; index += 2) {
    const lines = (parts[index + 1] ?? '').split('\n');
    const command = lines.find((line) => line.startsWith('LC_ALL='));
    const error = lines.filter((line) => line.startsWith('error:')).join(' ');
    verdicts.set(parts[index] ?? '', command === undefined ? { error } : { command });
  }
  return verdicts;
}
