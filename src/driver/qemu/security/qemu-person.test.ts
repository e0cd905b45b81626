import { expect, it } from 'vitest';
import { readUserNames } from '../../../security/user-names.ts';
import { qemuPerson } from './qemu-person.ts';

const names = readUserNames({
  etc: '/nonexistent',
  ask: (database, key) => (database === 'passwd' && /^(qemu|64)$/.test(key) ? 'qemu:x:64:65::/:/bin/false' : undefined),
});

it('is the caller, or who the settings say', () => {
  expect(qemuPerson({}, names).uid).toBe(process.geteuid?.());
  expect(qemuPerson({ user: 'qemu' }, names)).toMatchObject({ uid: 64, gids: [65], name: 'qemu' });
  expect(qemuPerson({ user: '+64', group: '+9', dynamicOwnership: false }, names)).toEqual({
    uid: 64,
    gids: [9],
    name: 'qemu',
    ownsFiles: false,
  });
  expect(() => qemuPerson({ user: 'nobody-here' }, names)).toThrow(/there is no user/);
});
