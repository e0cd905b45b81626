import { createServer } from 'node:net';
import { expect, it } from 'vitest';
import { HostReservations } from './host-lookup.ts';

it('hands out ports that nobody has, until they are given back', async () => {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  const taken = typeof address === 'object' ? (address?.port ?? 0) : 0;
  const config = { remotePortMin: taken, remotePortMax: taken + 2 };
  const reservations = new HostReservations();
  const first = reservations.begin(config);
  const port = first.graphicsPort({ index: 0, use: 'vnc' });
  expect(port).toBeGreaterThan(taken);
  const second = reservations.begin({ remotePortMin: port, remotePortMax: port });
  expect(() => second.graphicsPort({ index: 0, use: 'spice' })).toThrow(/no free port for spice/);
  first[Symbol.dispose]();
  expect(second.graphicsPort({ index: 0, use: 'spice' })).toBe(port);
  await new Promise((resolve) => server.close(resolve));
});

it('gives each guest a vsock address of its own', () => {
  const reservations = new HostReservations();
  const config = { remotePortMin: 5900, remotePortMax: 5910 };
  const [a, b] = [reservations.begin(config), reservations.begin(config)];
  expect([a.vsockCid(), a.vsockCid(), b.vsockCid()]).toEqual([3, 3, 4]);
  a[Symbol.dispose]();
  expect(reservations.begin(config).vsockCid()).toBe(3);
});
