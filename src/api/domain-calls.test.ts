import { describe, expect, it } from 'vitest';
import { ErrorCode, VirtError } from '../core/errors.ts';
import type { Driver } from '../driver/driver.ts';
import { Domain } from './domain.ts';
import { group } from './domain-calls.ts';

const IDENTITY = { name: 'web', uuid: '0a81f5b2-8403-7b23-c8d6-21ccc2f80d6f', id: 1 };

/** Only what these tests call: the rest of a driver is not looked at. */
function driverWith(parts: object): Driver {
  return { type: 'TEST', ...parts } as Driver;
}

describe('operations of the driver’s groups on a domain', () => {
  it('reach the group with the UUID in front', async () => {
    const calls: unknown[][] = [];
    const domain = new Domain(
      driverWith({ devices: { attachDevice: async (...args: unknown[]) => void calls.push(args) } }),
      IDENTITY,
    );
    await domain.attachDevice('<disk/>', { live: true });
    expect(calls).toEqual([[IDENTITY.uuid, '<disk/>', { live: true }]]);
  });

  it('fail as libvirt does where the driver lacks the group', async () => {
    const domain = new Domain(driverWith({}), IDENTITY);
    await expect(domain.setVcpus(2)).rejects.toMatchObject({ code: ErrorCode.NO_SUPPORT });
  });

  it('fail with VirtErrors, but with the reason of the caller’s own signal', async () => {
    const reason = new Error('enough');
    const domain = new Domain(
      driverWith({
        inspection: {
          vcpus: async (_uuid: string, { signal }: { signal?: AbortSignal } = {}) => {
            signal?.throwIfAborted();
            throw new Error('no such file');
          },
        },
      }),
      IDENTITY,
    );
    await expect(domain.vcpus()).rejects.toBeInstanceOf(VirtError);
    await expect(domain.vcpus({ signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
  });
});

describe('group', () => {
  it('hands iterations on and maps errors of promises', async () => {
    async function* events(): AsyncGenerator<number> {
      yield 1;
    }
    const secrets = group(
      driverWith({
        secrets: {
          events,
          list: async () => {
            throw new Error('broken');
          },
        },
      }),
      'secrets',
    );
    const seen: unknown[] = [];
    for await (const event of secrets.events()) seen.push(event);
    expect(seen).toEqual([1]);
    await expect(secrets.list()).rejects.toBeInstanceOf(VirtError);
  });
});
