/** Whether QEMU can open all files of a definition, as the user that it runs as, along the whole path; and whole chains of images. */
import { BackingChainError, type FoundChain, findBackingChain } from '../driver/qemu/runtime/backing-chain.ts';
import type { BackingStore } from '../model/domain/devices/storage-source.ts';
import type { Domain } from '../model/domain/domain.ts';
import { findDenial, type Person } from '../security/path-access.ts';
import { type Finding, fail, pass } from './finding.ts';

/** Every file that QEMU opens, as the user that it runs as. */
export function checkFiles({ devices, os }: Domain, person: Person): Finding[] {
  const files: { path: string; write: boolean; what: string }[] = [];
  const add = (path: string | undefined, write: boolean, what: string): void => {
    if (path?.startsWith('/') === true) files.push({ path, write, what });
  };
  for (const disk of devices?.disks ?? []) {
    const what = `disk ${disk.target?.dev ?? ''}`.trim();
    const isReadOnly = disk.readonly === true || disk.device === 'cdrom';
    add(disk.source?.file ?? disk.source?.dev, !isReadOnly, what);
    for (let below = disk.backingStore; below !== undefined; below = below.backingStore) {
      add(below.source?.file ?? below.source?.dev, false, `backing image of ${what}`);
    }
  }
  add(os?.kernel, false, 'kernel');
  add(os?.initrd, false, 'initrd');
  add(os?.dtb, false, 'device tree');
  const findings = files.flatMap(({ path, write, what }): Finding[] => {
    const denial = findDenial(path, person, { write });
    if (denial === undefined) return [];
    const why =
      denial.reason === 'missing' ? `QEMU cannot open the ${what}` : `${person.name} cannot reach the ${what}: ${path}`;
    const fact =
      denial.reason === 'missing' ? `${denial.path} does not exist` : `${denial.path} denies (${denial.mode})`;
    return [fail('guest-files', what, fact, why, denial.fix)];
  });
  return findings.length > 0
    ? findings
    : [pass('guest-files', 'files', `${files.length} can be used by ${person.name}`)];
}

/** Images that only the headers of those above them name. Those that the definition names are `checkFiles`'s. */
export async function checkChains(domain: Domain, person: Person, signal: AbortSignal | undefined): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const { driver, source, target, backingStore } of domain.devices?.disks ?? []) {
    const path = source?.file ?? source?.dev;
    const format = driver?.type;
    if (path === undefined || backingStore !== undefined || (format !== 'qcow2' && format !== 'qed')) continue;
    // What cannot be opened at all has been told.
    if (findDenial(path, person) !== undefined) continue;
    findings.push(...(await checkChain({ path, format, disk: `disk ${target?.dev ?? ''}`.trim() }, person, signal)));
  }
  return findings;
}

async function checkChain(
  { path, format, disk }: { path: string; format: 'qcow2' | 'qed'; disk: string },
  person: Person,
  signal: AbortSignal | undefined,
): Promise<Finding[]> {
  let found: FoundChain;
  try {
    found = await findBackingChain(path, format, { signal });
  } catch (error) {
    if (!(error instanceof BackingChainError)) throw error;
    const fix = `qemu-img info --backing-chain ${path}; qemu-img rebase -u -b NEWPATH -F FORMAT IMAGE`;
    return [fail('guest-files', disk, error.message, `QEMU cannot open the whole chain of images of ${disk}`, fix)];
  }
  const images: string[] = [];
  for (let below: BackingStore | undefined = found.backingStore; below !== undefined; below = below.backingStore) {
    const image = below.source?.file ?? below.source?.dev;
    if (image !== undefined) images.push(image);
  }
  const denied = images.flatMap((image): Finding[] => {
    const denial = findDenial(image, person);
    const why = `${person.name} cannot reach a backing image of ${disk}: ${image}`;
    return denial === undefined
      ? []
      : [fail('guest-files', disk, `${denial.path} denies (${denial.mode})`, why, denial.fix)];
  });
  if (denied.length > 0 || images.length === 0) return denied;
  return [pass('guest-chain', disk, `stands on ${images.join(', ')}`)];
}
