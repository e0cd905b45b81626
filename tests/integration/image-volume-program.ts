/** Run in a guest with LVM on a loop device of its: an image becomes a root in a volume of its own, or nothing is left of it. */
import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { ImageStore, importImage, unpackImage } from '../../src/rootfs/index.ts';

const [, , device = ''] = process.argv;
const MADE = '/tmp/made';
const MIB = 1024 * 1024;

const tell = (command: string, ...args: string[]): string => execFileSync(command, args, { encoding: 'utf8' }).trim();
const volumes = (): string[] => tell('lvs', '--noheadings', '-o', 'lv_name', 'vg').split(/\s+/).filter(Boolean);
const whyNot = async (target: string, size: string): Promise<string> =>
  await unpackImage('box:test', target, { store, kind: 'lvm', pool: 'vg', size }).then(
    () => 'unpacked',
    (error: unknown) => (error instanceof Error ? error.message : String(error)),
  );

tell('pvcreate', '--yes', device);
tell('vgcreate', 'vg', device);
mkdirSync(`${MADE}/etc`, { recursive: true });
mkdirSync(`${MADE}/bin`);
writeFileSync(`${MADE}/etc/shadow`, 'root:*:1::::::\n');
chmodSync(`${MADE}/etc/shadow`, 0o600);
writeFileSync(`${MADE}/bin/large`, Buffer.alloc(6 * MIB, 'x'));
symlinkSync('large', `${MADE}/bin/sh`);
tell('tar', '-cf', '/tmp/made.tar', '-C', MADE, '.');
const store = new ImageStore({ dir: '/tmp/store' });
await importImage('box:test', '/tmp/made.tar', { store });

// More than fits: the volume, its mount and the folder go again.
const tooSmall = await whyNot('/tmp/small', '4M');
const afterFailure = { volumes: volumes(), folder: existsSync('/tmp/small') };
await unpackImage('box:test', '/tmp/root 1', { store, kind: 'lvm', pool: 'vg', size: '32M' });
const mounted = readFileSync('/proc/self/mountinfo', 'utf8').includes(' /tmp/root\\0401 rw');
const mode = statSync('/tmp/root 1/etc/shadow').mode & 0o777;
const { size } = statSync('/tmp/root 1/bin/sh');
const made = volumes();
// A second of that name, and more than the group has.
mkdirSync('/tmp/other');
const again = await whyNot('/tmp/other/root 1', '8M');
const tooLarge = await whyNot('/tmp/huge', '1G');
const left = { volumes: volumes(), folders: ['/tmp/other/root 1', '/tmp/huge'].filter((path) => existsSync(path)) };
tell('umount', '/tmp/root 1');
tell('lvremove', '--yes', 'vg/root-1');
process.stdout.write(
  JSON.stringify({
    tooSmall,
    afterFailure,
    mounted,
    mode,
    size: size / MIB,
    made,
    again,
    tooLarge,
    left,
    end: volumes(),
  }),
);
