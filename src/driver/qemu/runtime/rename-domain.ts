/** What goes along when a domain that is off gets another name: its UEFI variables, where their file was named after it. */
import { existsSync, renameSync } from 'node:fs';
import { ErrorCode, ErrorDomain, VirtError } from '../../../core/errors.ts';
import { requireDefined, requireLegal } from '../../../guest/domain-report.ts';
import type { Domain } from '../../../model/domain/domain.ts';
import { cloneDefinition } from '../../../model/schema/schema.ts';
import type { Layout } from '../layout.ts';
import type { DomainRecord, DomainStore } from './qemu-record.ts';

/** The caller holds the domain's lock. @throws VirtError OPERATION_INVALID; then nothing has changed */
export async function renameDomain(
  { store, layout }: { readonly store: DomainStore; readonly layout: Layout },
  record: DomainRecord,
  name: string,
): Promise<void> {
  requireLegal('rename', record);
  const definition = requireDefined(record, 'rename');
  if (record.name === name) throw invalid("Can't rename domain to itself");
  if (name.includes('/')) throw invalid(`the name '${name}' contains '/'`);
  if (existsSync(layout.managedSaveFile(record.name))) {
    throw invalid("domain with a managed saved state can't be renamed: remove that first (managedsave-remove)");
  }
  const moved = moveVariables(layout, definition, name);
  try {
    record.definition = moved?.definition ?? definition;
    await store.rename(record, name);
  } catch (error) {
    record.definition = definition;
    if (moved !== undefined) renameSync(moved.to, moved.from);
    throw error;
  }
}

/** Another domain may get the old name, and must not find these. */
function moveVariables(
  layout: Layout,
  definition: Domain,
  name: string,
): { definition: Domain; from: string; to: string } | undefined {
  const from = layout.nvramFile(definition.name ?? '');
  const to = layout.nvramFile(name);
  if (definition.os?.nvram?.value !== from) return undefined;
  const copy = cloneDefinition(definition);
  if (copy.os?.nvram !== undefined) copy.os.nvram.value = to;
  if (!existsSync(from)) return { definition: copy, from: to, to };
  if (existsSync(to)) throw invalid(`${to} is there already: it belongs to another domain`);
  renameSync(from, to);
  return { definition: copy, from, to };
}

function invalid(message: string): VirtError {
  return new VirtError(`Requested operation is not valid: ${message}`, {
    code: ErrorCode.OPERATION_INVALID,
    domain: ErrorDomain.QEMU,
  });
}
