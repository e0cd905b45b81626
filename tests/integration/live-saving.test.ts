/**
 * Saved and dumped guests on real QEMU: compressed images, jobs that are asked about and aborted, broken images, and images that go from
 * libvirtd to us and back.
 */
import { execFile, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Connection, connect, type Domain, type DomainEvent, ErrorCode } from '../../src/index.ts';
import { startDaemon } from '../support/daemon.ts';
import { domainXml } from '../support/domain-xml.ts';
import { bootSectorImage, greetingOf } from '../support/guests/boot-sectors.ts';
import { hasLibvirtd, startLibvirtd } from '../support/libvirtd.ts';
import { MachinePartition } from '../support/machine-partition.ts';

const run = promisify(execFile);
const FORMATS = ['gzip', 'bzip2', 'xz', 'lzop', 'zstd'].filter(
  (format) => spawnSync(format, ['--version']).status === 0,
);

let scratch: string;
let xml: string;
beforeAll(async () => {
  scratch = mkdtempSync(join(tmpdir(), 'nestling-saving-'));
  const devices =
    "<controller type='virtio-serial'/><channel type='unix'><target type='virtio' name='org.example.0'/></channel>" +
    "<graphics type='vnc' autoport='yes' passwd='sesame'/><video><model type='vga'/></video><interface type='user'><model type='virtio'/></interface>";
  xml = domainXml({ name: 'saved', disks: [{ path: await bootSectorImage('echo'), readonly: true }], devices });
});
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

/** That it goes on where it was: the echo answers. */
async function expectAnswer(guest: Domain, word: string): Promise<void> {
  const heard = guest.console().waitFor(word, { replay: false, signal: AbortSignal.timeout(30_000) });
  await guest.console().write(word);
  await heard;
}

/** Of a file in the host's page cache. */
function cachedBytes(path: string): number {
  const { stdout, stderr } = spawnSync('fincore', ['--bytes', '--noheadings', '--output', 'RES', path]);
  expect(stderr.toString()).toBe('');
  return Number(stdout.toString());
}

async function failureOf(promise: Promise<unknown>): Promise<{ message: string; code: number }> {
  return await promise.then(
    () => {
      throw new Error('it succeeded');
    },
    (error: { message: string; code: number }) => error,
  );
}

describe('a saved guest', () => {
  let connection: Connection;
  let guest: Domain;
  beforeAll(async () => {
    connection = await connect('qemu:///embed');
    guest = await connection.createDomain(xml);
    await guest.console().waitFor(greetingOf('echo'), { signal: AbortSignal.timeout(30_000) });
  });
  afterAll(() => connection.close());

  it.each(FORMATS)('is small with %s, and goes on when it is restored', async (format) => {
    const path = join(scratch, `${format}.save`);
    await guest.save(path, { format });
    expect(statSync(path).size).toBeLessThan(800_000);
    guest = await connection.restore(path);
    await expectAnswer(guest, format);
  });

  it.each(['raw', ...FORMATS.slice(0, 1)])('stays out of the page cache where that is wanted (%s)', async (format) => {
    const path = join(scratch, 'direct.save');
    await guest.save(path, { format, bypassCache: true });
    // The header, and an end that is no whole block.
    if (format === 'raw') expect(cachedBytes(path)).toBeLessThan(statSync(path).size - (1 << 20));
    guest = await connection.restore(path, { bypassCache: true });
    if (format === 'raw') expect(cachedBytes(path)).toBeLessThan(statSync(path).size - (1 << 20));
    await expectAnswer(guest, `direct ${format}`);
    for (const options of [{ live: true }, { memoryOnly: true }]) {
      await guest.coreDump(path, { ...options, bypassCache: true });
      const size = statSync(path).size;
      if (size > 2 << 20) expect(cachedBytes(path)).toBeLessThanOrEqual(1 << 20);
      await guest.coreDump(`${path}2`, options);
      expect(readFileSync(path).subarray(0, 4)).toEqual(readFileSync(`${path}2`).subarray(0, 4));
    }
    await expectAnswer(guest, 'dumped');
  });

  it('is kept, and nothing is left, where its image is broken', async () => {
    const [format = 'gzip'] = FORMATS;
    const path = join(scratch, 'broken.save');
    await guest.save(path, { format });
    const whole = readFileSync(path);
    writeFileSync(path, whole.subarray(0, 100_000));
    const cut = await failureOf(connection.restore(path));
    expect(cut.message).toContain(`${format} ended with`);
    expect(cut.message).not.toContain('\n');
    const damaged = Buffer.from(whole);
    damaged.fill(0x55, 80_000, 90_000);
    writeFileSync(path, damaged);
    await failureOf(connection.restore(path));
    expect(readFileSync(path).equals(damaged)).toBe(true);
    expect(await connection.listAllDomains()).toEqual([]);
    writeFileSync(path, whole);
    guest = await connection.restore(path);
    await expectAnswer(guest, 'again');
  });

  it('is not restored with other hardware, and the reason names all of it', async () => {
    const path = join(scratch, 'abi.save');
    const live = await guest.xmlDesc({ secure: true });
    const memory = /<memory unit='KiB'>(\d+)</.exec(live)?.[1] ?? '';
    const other = live.replaceAll(`>${memory}<`, '>131072<').replace("model type='vga'", "model type='cirrus'");
    const refused = await failureOf(guest.save(path, { xml: other }));
    expect(refused.code).toBe(ErrorCode.CONFIG_UNSUPPORTED);
    expect(refused.message).toMatch(
      /memory\.value is 131072, was \d+; .*videos\[0\] model\.type is 'cirrus', was 'vga'/,
    );
    expect(existsSync(path)).toBe(false);
    await guest.save(path, { xml: live.replace('<devices>', '<description>moved</description><devices>') });
    expect(await connection.savedXml(path)).not.toContain('sesame');
    expect(await connection.savedXml(path, { secure: true })).toContain('sesame');
    expect(await connection.savedXml(path)).toContain('<description>moved</description>');
    await connection.defineSaved(path, (await connection.savedXml(path, { secure: true })).replace('moved', 'back'));
    guest = await connection.restore(path);
    expect(await guest.xmlDesc()).toContain('<description>back</description>');
    await expectAnswer(guest, 'other');
  });

  it('runs on after a live dump', async () => {
    const path = join(scratch, 'core');
    await guest.coreDump(path, { live: true });
    expect(readFileSync(path).subarray(0, 4).toString()).toBe('QEVM');
    await expectAnswer(guest, 'dumped');
    await guest.coreDump(path, { memoryOnly: true });
    expect(readFileSync(path).subarray(1, 4).toString()).toBe('ELF');
    await expectAnswer(guest, 'twice');
    expect(await guest.jobStats({ completed: true })).toMatchObject({
      type: 'completed',
      parameters: { operation: 8 },
    });
    expect(await guest.jobStats({ completed: true })).toMatchObject({ type: 'none' });
  });
});

describe('a job', () => {
  it('is told while it goes on, and ended at once by whoever asks: the guest goes on', async () => {
    await using connection = await connect('qemu:///embed');
    const guest = await connection.createDomain(xml);
    await guest.console().waitFor(greetingOf('echo'), { signal: AbortSignal.timeout(30_000) });
    const before = await failureOf(guest.abortJob());
    expect(before).toMatchObject({ code: ErrorCode.OPERATION_INVALID, message: expect.stringContaining('no job') });
    // A reader that takes its time: so does the job.
    const fifo = join(scratch, 'fifo');
    await run('mkfifo', [fifo]);
    const events: DomainEvent[] = [];
    const following = (async () => {
      for await (const event of connection.events()) events.push(event);
    })();
    const reader = spawn('sh', ['-c', `while dd bs=4096 count=1 of=/dev/null 2>/dev/null; do :; done < ${fifo}`]);
    const saving = failureOf(guest.save(fifo));
    await expect
      .poll(async () => (await guest.jobStats()).parameters['memory_total'], { timeout: 30_000 })
      .toBeDefined();
    const { type, parameters } = await guest.jobStats();
    expect({ type, operation: parameters['operation'] }).toEqual({ type: 'unbounded', operation: 2 });
    expect(await guest.controlState()).toMatchObject({ state: 'job' });
    expect(await guest.state()).toMatchObject({ state: 3, reason: 3 });
    await guest.abortJob();
    const { message, code } = await saving;
    expect({ message, code }).toEqual({
      message: expect.stringContaining('domain save job: canceled by client'),
      code: ErrorCode.OPERATION_ABORTED,
    });
    reader.kill('SIGKILL');
    expect(await guest.jobStats()).toMatchObject({ type: 'none' });
    await expectAnswer(guest, 'still');
    await connection.close();
    await following;
    expect(events.filter(({ event }) => event === 'job-completed')).toEqual([]);
  });
});

describe.skipIf(!hasLibvirtd())('an image', () => {
  it('goes from us to libvirtd and back', { timeout: 120_000 }, async () => {
    // libvirtd's image names it.
    using _partition = new MachinePartition();
    await using daemon = await startDaemon();
    await using libvirtd = await startLibvirtd();
    const file = join(scratch, 'saved.xml');
    writeFileSync(file, xml);
    const virsh = async (uri: string, ...args: string[]): Promise<string> =>
      (await run('virsh', ['-c', uri, ...args], { timeout: 60_000 })).stdout;
    const [ours, theirs] = [join(scratch, 'ours.save'), join(scratch, 'theirs.save')];
    await virsh(daemon.uri, 'create', file);
    await virsh(daemon.uri, 'save', 'saved', ours, '--bypass-cache');
    await virsh(libvirtd.uri, 'restore', ours);
    expect(await virsh(libvirtd.uri, 'domstate', '--reason', 'saved')).toContain('running (restored)');
    await virsh(libvirtd.uri, 'save', 'saved', theirs);
    // A changed definition keeps what libvirt has noted beside it.
    const changed = (await virsh(daemon.uri, 'save-image-dumpxml', theirs, '--security-info')).replace(
      '<vcpu',
      '<description>x</description>\n  <vcpu',
    );
    writeFileSync(file, changed);
    await virsh(daemon.uri, 'save-image-define', theirs, file);
    expect(readFileSync(theirs).includes('<cookie>')).toBe(true);
    await virsh(daemon.uri, 'restore', theirs, '--bypass-cache');
    expect(await virsh(daemon.uri, 'domstate', '--reason', 'saved')).toContain('running (restored)');
    expect(await virsh(daemon.uri, 'dumpxml', 'saved')).toContain("<feature policy='require' name='hypervisor'/>");
    await virsh(daemon.uri, 'destroy', 'saved');
  });
});
