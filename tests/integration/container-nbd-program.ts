/** Runs in a guest whose kernel has nbd and no FUSE: containers on qcow2 images, from their start and while they run. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect, type Domain } from '../../src/index.ts';
import { makeBusyboxRoot, shellContainer } from '../support/busybox-root.ts';
import { pollUntil } from '../support/poll.ts';

const folder = mkdtempSync(join(tmpdir(), 'nt-nbd-'));
const image = join(folder, 'image.qcow2');

/** Of the kernel's, those that somebody serves. */
const served = (): string[] => readdirSync('/sys/block').filter((name) => existsSync(`/sys/block/${name}/pid`));
const loops = (): string => execFileSync('losetup', ['--list', '--noheadings'], { encoding: 'utf8' }).trim();
const disk = (at: string, access = ''): string =>
  `<filesystem type='file'><driver type='nbd' format='qcow2'/><source file='${image}'/><target dir='${at}'/>${access}</filesystem>`;
const said = async (domain: Domain, line: string): Promise<string> =>
  String((await domain.exec(['sh', '-c', line])).stdout).trim();

async function untilFree(): Promise<void> {
  await pollUntil(
    () => served().length === 0 && loops() === '',
    () => `still there: ${served().join(' ')} ${loops()}`,
  );
}

try {
  const tree = join(folder, 'tree');
  mkdirSync(tree);
  writeFileSync(join(tree, 'greeting'), 'hello\n');
  execFileSync('mkfs.ext4', ['-q', '-d', tree, `${image}.raw`, '16M']);
  execFileSync('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', `${image}.raw`, image]);
  const root = makeBusyboxRoot(folder);
  await using connection = await connect('lxc:///embed');
  const start = async (devices: string): Promise<Domain> =>
    await connection.createDomain(shellContainer('boxed', { root, line: 'while :; do sleep 1; done', devices }));
  const first = await start(disk('/data'));
  const during = served();
  const read = await said(first, 'cat /data/greeting; echo written >/data/more');
  await first.destroy();
  await untilFree();
  const second = await start('');
  await second.attachDevice(disk('/data', '<readonly/>'));
  const again = await said(second, 'cat /data/more; (echo x >/data/no) 2>/dev/null && echo WROTE; true');
  await second.detachDevice(disk('/data', '<readonly/>'));
  await untilFree();
  await second.destroy();
  const isWhole = execFileSync('qemu-img', ['check', image], { encoding: 'utf8' }).includes('No errors');
  process.stdout.write(JSON.stringify({ during, read, again, isWhole }));
} finally {
  rmSync(folder, { recursive: true, force: true });
}
