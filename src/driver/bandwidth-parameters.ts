/** Bandwidth as clients read and set it: parameters like `inbound.average`, which interfaces of guests and ports of networks have alike. Pure. */
import { ErrorCode, type ErrorDomain, VirtError } from '../core/errors.ts';
import type { NetworkInterface } from '../model/domain/devices/interface.ts';
import type { TypedParameters } from './driver.ts';

type Bandwidth = NonNullable<NetworkInterface['bandwidth']>;

/** Order of libvirt's answers. A share (`floor`) is kept only of what guests receive. */
const RATES = {
  inbound: ['average', 'peak', 'floor', 'burst'],
  outbound: ['average', 'peak', 'burst'],
} as const;
const DIRECTIONS = ['inbound', 'outbound'] as const;

/** Rates in KiB/s, bursts in KiB. `all`: limits that are not there are 0; else they are left out. */
export function bandwidthParametersOf(
  bandwidth: Bandwidth | undefined,
  { all = false }: { all?: boolean } = {},
): TypedParameters {
  const parameters: Record<string, number> = {};
  for (const direction of DIRECTIONS) {
    const limits = bandwidth?.[direction];
    if (limits === undefined && !all) continue;
    for (const rate of RATES[direction]) parameters[`${direction}.${rate}`] = limits?.[rate] ?? 0;
  }
  return parameters;
}

/** What is not named stays as it is; 0 for average and share lifts the limits of that direction. @throws VirtError INVALID_ARG */
export function changeBandwidth(
  before: Bandwidth | undefined,
  parameters: TypedParameters,
  domain: ErrorDomain,
): Bandwidth {
  const known: readonly string[] = DIRECTIONS.flatMap((direction) =>
    RATES[direction].map((rate) => `${direction}.${rate}`),
  );
  for (const [name, value] of Object.entries(parameters)) {
    if (!known.includes(name)) throw invalid(`parameter '${name}' not supported`, domain);
    if (!Number.isSafeInteger(Number(value)) || Number(value) < 0)
      throw invalid(`${name} is a number from 0 on, not ${String(value)}`, domain);
  }
  const bandwidth = { ...before };
  for (const direction of DIRECTIONS) {
    const limits = { ...bandwidth[direction] };
    for (const rate of RATES[direction]) {
      const value = parameters[`${direction}.${rate}`];
      if (value !== undefined) limits[rate] = Number(value);
    }
    if ((limits.average ?? 0) > 0 || (limits.floor ?? 0) > 0) bandwidth[direction] = limits;
    else delete bandwidth[direction];
  }
  return bandwidth;
}

function invalid(message: string, domain: ErrorDomain): VirtError {
  return new VirtError(message, { code: ErrorCode.INVALID_ARG, domain });
}
