/** What a definition leaves on disk beside itself, and whether it goes with it: managed save, UEFI variables, TPM state. */
import { existsSync, rmSync } from 'node:fs';
import { ErrorCode, ErrorDomain, VirtError } from '../../../core/errors.ts';
import type { Domain } from '../../../model/domain/domain.ts';
import type { UndefineOptions } from '../../driver.ts';
import type { Layout } from '../layout.ts';

/** @throws VirtError OPERATION_INVALID for what is there and was not decided about; then nothing is removed */
export function removeKept(layout: Layout, domain: Domain, options: UndefineOptions): void {
  const name = domain.name ?? '';
  const saved = layout.managedSaveFile(name);
  const nvram = domain.os?.nvram?.value ?? layout.nvramFile(name);
  const hasNvram = domain.os?.nvram !== undefined && existsSync(nvram);
  if (existsSync(saved) && options.managedSave !== true) {
    throw invalid('Refusing to undefine while domain managed save image exists');
  }
  if (hasNvram && options.nvram !== true && options.keepNvram !== true) {
    throw invalid('cannot undefine domain with nvram');
  }
  rmSync(saved, { force: true });
  if (hasNvram && options.nvram === true) rmSync(nvram, { force: true });
  const tpm = `${layout.roots.swtpmLib}/${domain.uuid ?? ''}`;
  if (domain.uuid !== undefined && options.keepTpm !== true) rmSync(tpm, { recursive: true, force: true });
}

function invalid(message: string): VirtError {
  return new VirtError(`Requested operation is not valid: ${message}`, {
    code: ErrorCode.OPERATION_INVALID,
    domain: ErrorDomain.QEMU,
  });
}
