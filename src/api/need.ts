/** The groups of operations that a driver may lack, or the error that says so. */
import { ErrorCode, VirtError } from '../core/errors.ts';
import type { Driver } from '../driver/driver.ts';

/** Names of the driver's groups. */
export const OPERATION_GROUPS = [
  'devices',
  'tuning',
  'inspection',
  'saving',
  'interaction',
  'exec',
  'node',
  'secrets',
  'networks',
  'storage',
  'nodeDevices',
  'interfaces',
] as const;
export type OperationGroup = (typeof OPERATION_GROUPS)[number];

/** @throws VirtError NO_SUPPORT */
export function need<G extends OperationGroup>(driver: Driver, group: G): NonNullable<Driver[G]> {
  const found: Driver[G] = driver[group];
  if (found !== undefined) return found;
  throw new VirtError(`this function is not supported by the connection driver: ${driver.type} has no ${group}`, {
    code: ErrorCode.NO_SUPPORT,
  });
}
