/** The KVM verdict, with a shell script in QEMU's place: what each kind of host leads to, and what is remembered. */
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { checkKvmDevice, probeKvm } from './accelerator.ts';
import { readKvmVerdict } from './accelerator-cache.ts';
import { probeGuest } from './kvm-guest.ts';

let dir: string;
let devKvm: string;
const arch = 'x86_64';

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'nestling-test-'));
  devKvm = join(dir, 'kvm');
  writeFileSync(devKvm, '');
  mkdirSync(join(dir, 'tmp'));
  mkdirSync(join(dir, 'proc/sys/kernel/random'), { recursive: true });
  writeFileSync(join(dir, 'proc/sys/kernel/random/boot_id'), 'boot-1\n');
  writeFileSync(
    join(dir, 'proc/modules'),
    'kvm_intel 1 0 - Live 0x0\nkvm 2 1 kvm_intel, Live 0x0\next4 3 0 - Live 0x0\n',
  );
});
afterEach(() => rmSync(dir, { recursive: true }));

/** The second argument is the accelerator; 67 is the exit status of a guest that ran to its end. */
function fakeQemu(kvm: string, tcg = 'exit 67'): string {
  const path = join(dir, 'qemu');
  const script = `#!/bin/sh\necho "$2" >> ${dir}/runs\ncase "$2" in kvm) ${kvm};; tcg) ${tcg};; esac\n`;
  writeFileSync(path, script);
  chmodSync(path, 0o755);
  return path;
}

const probe = (qemu: string) => probeKvm({ qemu, arch, devKvm, tempDir: join(dir, 'tmp') });
const onX86 = process.arch === 'x64';

describe('checkKvmDevice', () => {
  it('has nothing against a device that opens', () => {
    expect(checkKvmDevice(devKvm, arch, 'x86_64')).toBeUndefined();
    expect(checkKvmDevice(devKvm, 'i386', 'x86_64')).toBeUndefined();
  });

  it('knows absence', () => {
    expect(checkKvmDevice(join(dir, 'none'), arch, 'x86_64')).toMatchObject({ usable: false, reason: 'absent' });
    expect(checkKvmDevice(devKvm, 'aarch64', 'x86_64')).toMatchObject({ usable: false, reason: 'absent' });
  });

  it('reports any other errno as it is', () => {
    expect(checkKvmDevice(dir, arch, 'x86_64')).toMatchObject({ usable: false, reason: 'broken', detail: /EISDIR/ });
  });

  it.skipIf(process.getuid?.() === 0)('knows a lack of permission', () => {
    chmodSync(devKvm, 0);
    expect(checkKvmDevice(devKvm, arch, 'x86_64')).toMatchObject({ usable: false, reason: 'permission' });
  });
});

describe.skipIf(!onX86)('probeKvm', () => {
  it('is content when the guest ran', async () => {
    const verdict = await probe(fakeQemu('exit 67'));
    expect(verdict).toMatchObject({ usable: true, timeMs: expect.any(Number), tcgTimeMs: expect.any(Number) });
    expect(readdirSync(join(dir, 'tmp'))).toEqual([]);
  });

  it('does without TCG where QEMU has none', async () => {
    const verdict = await probe(fakeQemu('exit 67', 'exit 1'));
    expect(verdict).toMatchObject({ usable: true });
    expect(verdict).not.toHaveProperty('tcgTimeMs');
  });

  it("calls an aborting KVM broken, in QEMU's words", async () => {
    const verdict = await probe(fakeQemu('echo "failed to set MSR" >&2; kill -ABRT $$'));
    expect(verdict).toMatchObject({ usable: false, reason: 'broken', detail: /SIGABRT: failed to set MSR/ });
  });

  it('calls exit status 0 broken: a guest that ran leaves another', async () => {
    expect(await probe(fakeQemu('exit 0'))).toMatchObject({ usable: false, reason: 'broken', detail: /status 0/ });
  });

  it('tells a busy KVM by its errno', async () => {
    const verdict = await probe(fakeQemu('echo "ioctl(KVM_CREATE_VM) failed: 16 Device or resource busy" >&2; exit 1'));
    expect(verdict).toMatchObject({ usable: false, reason: 'busy' });
  });

  it('gives up a KVM that does not finish, and kills it', async () => {
    const verdict = await probe(fakeQemu(`echo $$ > ${dir}/pid; exec sleep 60`));
    expect(verdict).toMatchObject({ usable: false, reason: 'slower-than-emulation', detail: /TCG needs/ });
    expect(isRunning(Number(readFileSync(join(dir, 'pid'), 'utf8')))).toBe(false);
  });

  it('ends with its signal', async () => {
    const controller = new AbortController();
    const options = { qemu: fakeQemu('exec sleep 60', 'exec sleep 60'), arch, devKvm, tempDir: join(dir, 'tmp') };
    const verdict = probeKvm({ ...options, signal: controller.signal });
    controller.abort(new Error('enough'));
    await expect(verdict).rejects.toThrow('enough');
  });

  it('does not run QEMU where there is no device', async () => {
    const qemu = fakeQemu('exit 67');
    expect(await probeKvm({ qemu, arch, devKvm: join(dir, 'none') })).toMatchObject({ reason: 'absent' });
    expect(existsSync(join(dir, 'runs'))).toBe(false);
  });

  it('fails clearly without QEMU', async () => {
    await expect(probe(join(dir, 'nothing'))).rejects.toThrow(/nothing/);
  });
});

describe.skipIf(!onX86)('readKvmVerdict', () => {
  const read = (qemu: string) =>
    readKvmVerdict({
      qemu,
      arch,
      devKvm,
      tempDir: join(dir, 'tmp'),
      cacheDir: join(dir, 'cache'),
      procRoot: join(dir, 'proc'),
    });
  const kvmRuns = () =>
    readFileSync(join(dir, 'runs'), 'utf8')
      .split('\n')
      .filter((line) => line === 'kvm').length;

  it('remembers good and bad news', async () => {
    const qemu = fakeQemu('exit 67');
    const first = await read(qemu);
    expect(await read(qemu)).toEqual(first);
    expect(kvmRuns()).toBe(1);
    const other = fakeQemu('exit 1 # broken');
    expect(await read(other)).toMatchObject({ reason: 'broken' });
    expect(await read(other)).toMatchObject({ reason: 'broken' });
    expect(kvmRuns()).toBe(2);
  });

  it.each([
    ['the next boot', () => writeFileSync(join(dir, 'proc/sys/kernel/random/boot_id'), 'boot-2\n')],
    ['another KVM module', () => writeFileSync(join(dir, 'proc/modules'), 'kvm_pvm 1 0 - Live 0x0\n')],
    ["a change of the device's mode", () => chmodSync(devKvm, 0o600)],
    ['damage', () => writeFileSync(join(dir, 'cache/kvm-verdict.json'), '{"format":1,')],
  ])('probes again after %s', async (_name, change) => {
    chmodSync(devKvm, 0o666);
    const qemu = fakeQemu('exit 67');
    await read(qemu);
    change();
    await read(qemu);
    expect(kvmRuns()).toBe(2);
  });

  it('does not mind other modules', async () => {
    const qemu = fakeQemu('exit 67');
    await read(qemu);
    writeFileSync(join(dir, 'proc/modules'), 'kvm 2 1 - Live 0x0\nloop 1 0 - Live 0x0\nkvm_intel 1 0 - Live 0x0\n');
    await read(qemu);
    expect(kvmRuns()).toBe(1);
  });

  it('never remembers a busy KVM', async () => {
    const qemu = fakeQemu('echo "ioctl(KVM_CREATE_VM) failed: 16" >&2; exit 1');
    await read(qemu);
    await read(qemu);
    expect(kvmRuns()).toBe(2);
  });

  it('works where nothing can be written', async () => {
    writeFileSync(join(dir, 'cache'), '');
    expect(await read(fakeQemu('exit 67'))).toMatchObject({ usable: true });
  });
});

describe('probeGuest', () => {
  it('is a boot sector on x86', () => {
    const image = probeGuest('x86_64')!.image;
    expect(image).toHaveLength(512);
    expect(image.slice(-2)).toEqual(Uint8Array.of(0x55, 0xaa));
  });

  it('is whole instructions on ARM', () => {
    expect(probeGuest('aarch64')!.image.length % 4).toBe(0);
  });

  it('is unknown elsewhere', () => {
    expect(probeGuest('s390x')).toBeUndefined();
  });
});

function isRunning(pid: number): boolean {
  try {
    return !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return false;
  }
}
