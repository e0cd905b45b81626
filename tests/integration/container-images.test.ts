/**
 * Containers on images that the kernel cannot mount itself (qcow2, vdi, …), and images given to running ones: what is written is in the image when
 * the container has ended, however that was, and nothing is left on the host.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Connection, connect, type Domain } from '../../src/index.ts';
import { lookUpProgram } from '../../src/process/find-program.ts';
import { listProcesses } from '../../src/process/proc.ts';
import { canRunContainers, makeBusyboxRoot } from '../support/busybox-root.ts';
import { commandOf } from '../support/command-of.ts';
import { startDaemon } from '../support/daemon.ts';
import { pollUntil } from '../support/poll.ts';
import { nestling, startNestling } from './cli-session.ts';

const needed = ['qemu-storage-daemon', 'qemu-img', 'mkfs.ext4', 'debugfs'];
const missing = needed.filter((name) => lookUpProgram(name) === undefined);
if (missing.length > 0) process.stderr.write(`\nSKIPPED: images of containers need ${missing.join(', ')}\n\n`);
const hasFuse = existsSync('/dev/fuse') && existsSync('/dev/loop-control');
if (!hasFuse) process.stderr.write('\nSKIPPED: images of containers need /dev/fuse and /dev/loop-control\n\n');

const WAIT = 'while :; do sleep 1; done';

describe.skipIf(!canRunContainers() || missing.length > 0 || !hasFuse)('images of containers', () => {
  let folder = '';
  let rootfs = '';
  let connection: Connection;

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'nt-img-'));
    rootfs = makeBusyboxRoot(folder);
    connection = await connect(`lxc:///embed?root=${folder}/state`);
  });

  afterAll(async () => {
    await connection.close();
    rmSync(folder, { recursive: true, force: true });
  });

  /** A file system with `/greeting`, as an image of that format. */
  function makeImage(name: string, format: string): string {
    const [tree, raw, image] = [join(folder, 'tree'), join(folder, `${name}.raw`), join(folder, name)];
    mkdirSync(tree, { recursive: true });
    writeFileSync(join(tree, 'greeting'), `hello from ${format}\n`);
    execFileSync('mkfs.ext4', ['-q', '-d', tree, raw, '16M']);
    execFileSync('qemu-img', ['convert', '-f', 'raw', '-O', format, raw, image]);
    rmSync(raw);
    return image;
  }

  /** A file in the image, without mounting it. Undefined: it has no such file. */
  function readInside(image: string, format: string, path: string): string | undefined {
    const raw = `${image}.seen`;
    execFileSync('qemu-img', ['convert', '-f', format, '-O', 'raw', image, raw]);
    const { stdout, stderr } = spawnSync('debugfs', ['-R', `cat ${path}`, raw], { encoding: 'utf8' });
    rmSync(raw);
    return stderr.includes('File not found') ? undefined : stdout;
  }

  function fileSystem(image: string, target: string, { driver = '', more = '' } = {}): string {
    return `<filesystem type='file'>${driver}<source file='${image}'/><target dir='${target}'/>${more}</filesystem>`;
  }

  const nbd = (format: string): string => `<driver type='nbd' format='${format}'/>`;

  function xmlOf(name: string, line: string, devices: string): string {
    return `<domain type='lxc'><name>${name}</name><memory unit='MiB'>64</memory>
      <os><type>exe</type><init>/bin/sh</init><initarg>-c</initarg><initarg><![CDATA[${line}]]></initarg></os>
      <devices><filesystem type='mount'><source dir='${rootfs}'/><target dir='/'/></filesystem>${devices}<console type='pty'/></devices></domain>`;
  }

  /** What a container prints that runs a line to its end. */
  async function run(line: string, devices: string): Promise<string> {
    const domain = await connection.createDomain(xmlOf('box', `${line}; exit 0`, devices));
    let printed = '';
    for await (const data of domain.console().stream()) printed += String(data);
    await domain.waitForStop();
    return printed.replaceAll('\r\n', '\n');
  }

  async function until(domain: Domain, line: string): Promise<void> {
    for await (const data of domain.console().stream()) if (String(data).includes(line)) return;
  }

  /** Helpers and devices of images below folders of this run. */
  function left(): string[] {
    const processes = listProcesses().flatMap(({ pid, gone }) => {
      const command = gone ? '' : commandOf(pid);
      return command.includes('image-export') || command.includes('qemu-storage-daemon')
        ? [command].filter((text) => text.includes(tmpdir()))
        : [];
    });
    const loops = execFileSync('losetup', ['--list', '--noheadings', '--output', 'BACK-FILE'], { encoding: 'utf8' });
    return [...processes, ...loops.split('\n').filter((line) => line.startsWith(tmpdir()))];
  }

  it('are read and written by format, and whole when their container has ended', async () => {
    const formats = ['qcow2', 'vdi', 'vmdk'];
    const images = formats.map((format) => makeImage(`a.${format}`, format));
    const devices = formats.map((format, index) =>
      fileSystem(images[index] ?? '', `/mnt/${format}`, { driver: nbd(format) }),
    );
    const line = 'cat /mnt/*/greeting; for each in /mnt/*; do echo "kept by $each" >$each/made; done';
    expect(await run(line, devices.join(''))).toBe('hello from qcow2\nhello from vdi\nhello from vmdk\n');
    // The container was ended with all of this still in the kernel's memory.
    for (const [index, format] of formats.entries())
      expect(readInside(images[index] ?? '', format, '/made')).toBe(`kept by /mnt/${format}\n`);
    execFileSync('qemu-img', ['check', '-q', '-f', 'qcow2', images[0] ?? '']);
    expect(left()).toEqual([]);
  });

  it('are its root, and are not written where they are readonly', async () => {
    const image = makeImage('ro.qcow2', 'qcow2');
    const before = readFileSync(image);
    const devices = fileSystem(image, '/mnt', { driver: "<driver format='qcow2'/>", more: '<readonly/>' });
    expect(await run('cat /mnt/greeting; touch /mnt/x', devices)).toMatch(/^hello from qcow2\n.*Read-only file system/);
    expect(readFileSync(image).equals(before)).toBe(true);

    const root = join(folder, 'root.raw');
    execFileSync('mkfs.ext4', ['-q', '-d', rootfs, root, '32M']);
    const packed = join(folder, 'root.qcow2');
    execFileSync('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', root, packed]);
    const xml = xmlOf('root', 'echo "I have $(ls -d /lost+found)"; exit 0', '').replace(
      `type='mount'><source dir='${rootfs}'/>`,
      `type='file'>${nbd('qcow2')}<source file='${packed}'/>`,
    );
    const domain = await connection.createDomain(xml);
    await until(domain, 'I have /lost+found');
    await domain.waitForStop();
    expect(left()).toEqual([]);
  });

  it('that cannot be opened say why, and nothing of the start is left', async () => {
    const wrong = join(folder, 'wrong.qcow2');
    writeFileSync(wrong, 'no image at all');
    const start = async (devices: string): Promise<string> =>
      await run('true', devices).catch((error: unknown) => String(error));
    expect(await start(fileSystem(wrong, '/mnt', { driver: nbd('qcow2') }))).toMatch(
      /cannot start container box: cannot open the image .*wrong\.qcow2: .*not in qcow2 format/,
    );
    const used = makeImage('used.qcow2', 'qcow2');
    const both =
      fileSystem(used, '/mnt/a', { driver: nbd('qcow2') }) + fileSystem(used, '/mnt/b', { driver: nbd('qcow2') });
    expect(await start(both)).toMatch(/cannot open the image .*used\.qcow2: .*lock/);
    expect(left()).toEqual([]);
  });

  it('are given to running containers and taken from them, raw or not', async () => {
    const line = `echo up; while read -r line; do eval "$line"; echo "::end"; done`;
    const domain = await connection.createDomain(xmlOf('live', `stty -echo; ${line}`, ''));
    const stream = domain.console().stream();
    let printed = '';
    stream.on('data', (data) => {
      printed += String(data);
    });
    const ask = async (question: string): Promise<string> => {
      printed = '';
      stream.write(`${question}\n`);
      await pollUntil(
        () => printed.includes('::end'),
        () => `it answers ${printed}`,
      );
      return printed.replaceAll('\r\n', '\n').replace('::end\n', '');
    };
    await pollUntil(() => printed.includes('up'), 'it does not come up');
    for (const format of ['qcow2', 'raw']) {
      const image = makeImage(`live.${format}`, format);
      const device = fileSystem(image, '/mnt/disk', { driver: format === 'raw' ? '' : nbd(format) });
      await domain.attachDevice(device);
      expect(await ask('cat /mnt/disk/greeting; echo kept >/mnt/disk/made')).toBe(`hello from ${format}\n`);
      await domain.detachDevice(device);
      expect(await ask('ls /mnt/disk')).toBe('');
      expect(readInside(image, format, '/made')).toBe('kept\n');
      expect(left()).toEqual([]);
    }
    const empty = join(folder, 'empty.raw');
    execFileSync('truncate', ['-s', '1M', empty]);
    await expect(domain.attachDevice(fileSystem(empty, '/mnt/no'))).rejects.toThrow(
      /empty\.raw has no file system that can be mounted/,
    );
    // One that is there when it ends goes with it.
    const last = makeImage('last.qcow2', 'qcow2');
    await domain.attachDevice(fileSystem(last, '/mnt/disk', { driver: nbd('qcow2') }));
    await ask('echo kept >/mnt/disk/made');
    await domain.destroy();
    expect(readInside(last, 'qcow2', '/made')).toBe('kept\n');
    expect(left()).toEqual([]);
  });

  it('are whole when whoever runs the container is killed', async () => {
    const image = makeImage('killed.qcow2', 'qcow2');
    const xml = join(folder, 'killed.xml');
    const line = `echo kept >/mnt/made; echo ready; ${WAIT}`;
    writeFileSync(xml, xmlOf('killed', line, fileSystem(image, '/mnt', { driver: nbd('qcow2') })));
    await using session = await startNestling(['run', '-c', xml]);
    await session.stdout.until(/ready/);
    session.process.kill('SIGKILL');
    await session.ended;
    // What is left of it is collected, and what its image has still to write is not cut off by that.
    expect(await nestling(['gc'])).toMatchObject({ status: 0 });
    await pollUntil(
      () => left().length === 0,
      () => left().join('\n'),
    );
    expect(readInside(image, 'qcow2', '/made')).toBe('kept\n');
  });

  it('outlive a daemon with their container, reboot with it, and end with it', async () => {
    await using daemon = await startDaemon();
    const uri = daemon.uri.replace(/^qemu/, 'lxc');
    const image = makeImage('daemon.qcow2', 'qcow2');
    const line = `trap 'exit 129' HUP; echo x >>/mnt/runs; echo "run $(wc -l </mnt/runs)"; ${WAIT}`;
    {
      await using first = await connect(uri);
      const domain = await first.createDomain(xmlOf('kept', line, fileSystem(image, '/mnt', { driver: nbd('qcow2') })));
      await until(domain, 'run 1');
      await domain.reboot();
      await until(domain, 'run 2');
      await pollUntil(
        () => isKnown(daemon.stateDir, 'kept'),
        'the daemon does not write down what the reboot has changed',
      );
    }
    await daemon.crash();
    await using second = await connect(uri);
    const domain = await second.lookupDomainByName('kept');
    expect(await domain.isActive()).toBe(true);
    await domain.destroy();
    await pollUntil(
      () => left().length === 0,
      () => left().join('\n'),
    );
    expect(readInside(image, 'qcow2', '/runs')).toBe('x\nx\n');
  });
});

/** The outermost process that the daemon has written down is alive. */
function isKnown(stateDir: string, name: string): boolean {
  const dir = join(stateDir, 'run/status');
  const file = readdirSync(dir).find((entry) => entry.endsWith(`-${name}.json`));
  const pid = file === undefined ? undefined : /"pid":(\d+)/.exec(readFileSync(join(dir, file), 'utf8'))?.[1];
  return pid !== undefined && commandOf(Number(pid)).includes('/conmon ');
}
