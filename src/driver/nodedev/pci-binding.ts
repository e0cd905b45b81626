/**
 * Which driver of the host a PCI device belongs to: taken away for guests (VFIO), given back, reset. What is changed here stays until it is
 * changed back, as with libvirt: it is the administrator's word, not a guest's.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { ErrorCode, ErrorDomain, VirtError } from '../../core/errors.ts';
import { listNames } from '../../core/list-names.ts';
import { LogSource } from '../../core/log-source.ts';
import { runCommand } from '../../process/run-command.ts';

const log = new LogSource('util.pci');
const STUB = 'vfio-pci';

export class PciBinding {
  readonly #sys: string;

  constructor(sys = '/sys') {
    this.#sys = sys;
  }

  /** @throws VirtError ARGUMENT_UNSUPPORTED, INVALID_ARG: nothing can be taken with that driver here */
  requireDriver(driver: string): void {
    if (driver === 'kvm')
      throw unsupported('KVM device assignment is no longer supported on this system: the driver is vfio');
    if (driver !== 'vfio')
      throw new VirtError(`unknown driver name '${driver}': it is vfio`, {
        code: ErrorCode.INVALID_ARG,
        domain: ErrorDomain.NODEDEV,
      });
    if (listNames(join(this.#sys, 'kernel/iommu_groups')).length === 0)
      throw unsupported(
        'VFIO device assignment is currently not supported on this system: there is no IOMMU (switch it on in the firmware, and with intel_iommu=on where the processor is Intel)',
      );
  }

  /** `dir`: the device's folder in sysfs. Idempotent. */
  async detach(dir: string, { signal }: { readonly signal?: AbortSignal | undefined } = {}): Promise<void> {
    if (this.#driverOf(dir) === STUB) return;
    if (!existsSync(join(this.#sys, 'bus/pci/drivers', STUB))) {
      const { status, stderr } = await runCommand('modprobe', [STUB], { signal });
      if (status !== 0)
        throw failed(`cannot load the kernel's driver ${STUB} for PCI device ${basename(dir)}: ${stderr.trim()}`);
    }
    this.#write(dir, 'driver_override', STUB);
    this.#rebind(dir);
    const now = this.#driverOf(dir);
    if (now !== STUB)
      throw failed(
        `PCI device ${basename(dir)} was not taken by ${STUB}: its driver is ${now ?? 'none'} (the kernel's log says why)`,
      );
  }

  /** Back to the driver that the kernel chooses. Idempotent. */
  reattach(dir: string): void {
    this.#write(dir, 'driver_override', '\n');
    if (this.#driverOf(dir) === STUB || this.#driverOf(dir) === undefined) this.#rebind(dir);
  }

  /** A device that VFIO has is reset when a guest opens it. */
  reset(dir: string): void {
    if (this.#driverOf(dir) === STUB) return;
    if (!existsSync(join(dir, 'reset')))
      throw failed(
        `unable to reset PCI device ${basename(dir)}: neither it nor its bus can be (no function-level, power or bus reset)`,
      );
    this.#write(dir, 'reset', '1');
  }

  #driverOf(dir: string): string | undefined {
    const uevent = readFileSync(join(dir, 'uevent'), 'utf8');
    return /^DRIVER=(.*)$/m.exec(uevent)?.[1];
  }

  #rebind(dir: string): void {
    if (existsSync(join(dir, 'driver'))) this.#write(join(dir, 'driver'), 'unbind', basename(dir), dir);
    this.#write(join(this.#sys, 'bus/pci'), 'drivers_probe', basename(dir), dir);
  }

  #write(folder: string, file: string, value: string, device = folder): void {
    const path = join(folder, file);
    log.info('write', () => `${path}: '${value.trim()}'`);
    try {
      // An absent file is not made: in sysfs that would be another error than the true one.
      writeFileSync(path, value, { flag: 'r+' });
    } catch (cause) {
      throw failed(`cannot write '${value.trim()}' to ${path} of PCI device ${basename(device)}`, cause);
    }
  }
}

function unsupported(message: string): VirtError {
  return new VirtError(message, { code: ErrorCode.ARGUMENT_UNSUPPORTED, domain: ErrorDomain.NODEDEV });
}

function failed(message: string, cause?: unknown): VirtError {
  const errno =
    typeof cause === 'object' && cause !== null && 'code' in cause && typeof cause.code === 'string' ? cause.code : '';
  const needsRoot = errno === 'EACCES' || errno === 'EPERM' ? ': only root may' : '';
  const text = errno === '' ? message : `${message}: ${errno}${needsRoot}`;
  const code = cause === undefined ? ErrorCode.INTERNAL_ERROR : ErrorCode.SYSTEM_ERROR;
  return new VirtError(text, { code, domain: ErrorDomain.NODEDEV, cause });
}
