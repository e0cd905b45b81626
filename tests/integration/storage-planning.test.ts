/** What is planned for disks, opened by a real QEMU: names of all kinds, encrypted images, chains, traffic limits. */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DISK } from '../../src/driver/qemu/devices/disk/index.ts';
import type { PropValue } from '../../src/driver/qemu/plan/props.ts';
import { renderPart } from '../../src/driver/qemu/plan/render.ts';
import { findBackingChain } from '../../src/driver/qemu/runtime/backing-chain.ts';
import { prepareFds } from '../../src/driver/qemu/runtime/inherited-fds.ts';
import { planThrottleGroups } from '../../src/driver/qemu/sections/throttle-groups.ts';
import { benchDevices } from '../../src/driver/qemu/testing/device-bench.ts';
import { createLuksImage } from '../support/luks.ts';

let dir = '';
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'storage-planning-'));
});
afterAll(() => rmSync(dir, { recursive: true }));

const image = (name: string, ...args: string[]): string => {
  execFileSync('qemu-img', ['create', '-q', ...args, join(dir, name), ...(args.includes('-b') ? [] : ['1M'])]);
  return join(dir, name);
};
const escapeXml = (text: string) => text.replaceAll('&', '&amp;').replaceAll("'", '&apos;').replaceAll('<', '&lt;');

/** Starts QEMU, stopped, with the disks; runs the commands and those of the plan; gives all replies. */
async function openDisks(
  xml: string,
  commands: readonly string[],
  { secret = '', groups = '' } = {},
): Promise<PropValue[]> {
  const { parts, context, faults } = benchDevices(xml, { families: [DISK], xml: groups });
  expect(faults).toEqual([]);
  const masterKey = Buffer.alloc(32, 7);
  writeFileSync(join(dir, 'key'), masterKey);
  for (const helper of context.helpers) execFileSync(helper.command, helper.args);
  using fds = await prepareFds(context.fds, {
    masterKey,
    resolveSecret: () => Buffer.from(secret),
    scratchDir: dir,
  });
  const args = [...planThrottleGroups(context), ...parts].flatMap((part) => renderPart(part, context.caps));
  const qemu = spawn(
    'qemu-system-x86_64',
    [
      ...'-machine pc,accel=tcg -nodefaults -display none -S -qmp stdio -object'.split(' '),
      `secret,id=masterKey0,format=raw,file=${join(dir, 'key')}`,
      ...args,
    ],
    {
      stdio: [
        'pipe',
        'pipe',
        'pipe',
        ...fds.stdio.map((entry) => {
          if (typeof entry === 'object' && 'fd' in entry) return entry.fd;
          throw new Error('these disks ask for descriptors of secrets only');
        }),
      ],
    },
  );
  const errors: Buffer[] = [];
  qemu.stderr?.on('data', (data: Buffer) => errors.push(data));
  const exited = once(qemu, 'exit');
  const deferred = context.deferred.map(({ command, arguments: given }) =>
    JSON.stringify({ execute: command, arguments: given }),
  );
  const plain = commands.map((name) => JSON.stringify({ execute: name }));
  for (const line of ['{"execute":"qmp_capabilities"}', ...deferred, ...plain, '{"execute":"quit"}']) {
    qemu.stdin?.write(`${line}\n`);
  }
  const replies: PropValue[] = [];
  if (qemu.stdout !== null) {
    for await (const line of createInterface(qemu.stdout)) {
      const message = JSON.parse(line) as { return?: PropValue; error?: { desc: string } };
      if (message.error !== undefined) replies.push(message.error.desc);
      else if (message.return !== undefined) replies.push(message.return);
    }
  }
  await exited;
  expect(Buffer.concat(errors).toString()).toBe('');
  return replies.slice(1);
}

describe('disks that QEMU really opens', () => {
  it('have any file name', async () => {
    const names = [
      'a,readonly=on.img',
      '100%s.img',
      'ü☃ space.img',
      '"quotes".img',
      'nbd:x:1.img',
      'back\\slash.img',
      '#?&.img',
    ];
    const letters = 'abcdefg';
    const disks = names.map((name, index) => {
      writeFileSync(join(dir, name), Buffer.alloc(4096));
      return `<disk><source file='${escapeXml(join(dir, name))}'/><target dev='vd${letters[index]}'/></disk>`;
    });
    const [nodes] = await openDisks(disks.join(''), ['query-named-block-nodes']);
    const files = (nodes as { file: string }[]).map(({ file }) => file);
    for (const name of names) expect(files).toContain(join(dir, name));
  });

  it('are unlocked by a secret that was encrypted on its way', async () => {
    const key = ['--object', 'secret,id=s,data=open sesame'];
    const path = join(dir, 'luks.img');
    createLuksImage([...key, '-f', 'luks', '-o', 'key-secret=s,iter-time=10', path, '1M']);
    const disk = `<disk><driver type='raw'/><source file='${path}'><encryption format='luks'>
      <secret type='passphrase' usage='u'/></encryption></source><target dev='vda'/></disk>`;
    const [nodes] = await openDisks(disk, ['query-named-block-nodes'], { secret: 'open sesame' });
    expect((nodes as { drv: string }[]).map(({ drv }) => drv)).toContain('luks');
  });

  it('stand on the chain that was found below them', async () => {
    const base = image('base.img', '-f', 'raw');
    image('middle.qcow2', '-f', 'qcow2', '-b', 'base.img', '-F', 'raw');
    const top = image('top.qcow2', '-f', 'qcow2', '-b', join(dir, 'middle.qcow2'), '-F', 'qcow2');
    const { backingStore } = await findBackingChain(top, 'qcow2');
    expect(backingStore).toMatchObject({ backingStore: { source: { file: base }, backingStore: {} } });
    const store = (file: string, format: string, below: string) =>
      `<backingStore type='file'><format type='${format}'/><source file='${file}'/>${below}</backingStore>`;
    const chain = store(join(dir, 'middle.qcow2'), 'qcow2', store(base, 'raw', '<backingStore/>'));
    const [nodes] = await openDisks(
      `<disk><driver type='qcow2' cache='none' copy_on_read='on'/><source file='${top}'/>${chain}<target dev='vda'/></disk>`,
      ['query-named-block-nodes'],
    );
    const names = (nodes as { 'node-name': string }[]).map((node) => node['node-name']);
    expect(names.filter((name) => name.startsWith('libvirt-')).sort()).toEqual([
      'libvirt-1-format',
      'libvirt-1-storage',
      'libvirt-2-format',
      'libvirt-2-storage',
      'libvirt-3-storage',
      'libvirt-CoR-vda',
    ]);
  });

  it('have their traffic limited', async () => {
    const path = image('limited.img', '-f', 'raw');
    const groups = `<throttlegroups><throttlegroup><total_iops_sec>50</total_iops_sec><group_name>g</group_name>
      </throttlegroup></throttlegroups>`;
    const [limited, block] = await openDisks(
      `<disk><source file='${path}'/><target dev='vda'/>
         <iotune><read_bytes_sec>1000</read_bytes_sec><read_bytes_sec_max>2000</read_bytes_sec_max>
         <read_bytes_sec_max_length>3</read_bytes_sec_max_length></iotune></disk>
       <disk><source file='${join(dir, 'key')}'/><target dev='vdb'/><readonly/>
         <throttlefilters><throttlefilter group='g'/></throttlefilters></disk>`,
      ['query-block'],
      { groups },
    );
    expect(limited).toEqual({});
    expect(block).toMatchObject([{ inserted: { bps_rd: 1000, bps_rd_max: 2000, bps_rd_max_length: 3 } }, {}]);
  });

  it('are left as they were where they are transient', async () => {
    const images = ['plain.qcow2', 'shared.qcow2'].map((name) => image(name, '-f', 'qcow2'));
    const disks = images.map(
      (path, index) => `<disk><driver type='qcow2'/><source file='${path}'/><target dev='vd${'ab'[index]}'/>
        <transient${index === 1 ? " shareBacking='yes'" : ''}/></disk>`,
    );
    const replies = await openDisks(disks.join(''), ['query-block']);
    expect(replies.slice(0, 8)).toEqual(Array.from({ length: 8 }, () => ({})));
    const inserted = (replies[8] as { inserted: { file: string; backing_file: string } }[]).map(
      (drive) => drive.inserted,
    );
    expect(inserted).toMatchObject(
      images.map((path) => ({ file: `${path}.TRANSIENT-demo`, backing_file: path, ro: false })),
    );
  });
});
