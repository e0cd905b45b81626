/** Who QEMU will be, by the same settings and names as at a start: for those who look whether it can reach its files. */
import { userInfo } from 'node:os';
import type { Person } from '../../../security/path-access.ts';
import {
  readUserNames,
  resolveGroup,
  resolveUser,
  supplementaryGroups,
  type UserNames,
} from '../../../security/user-names.ts';
import type { QemuConfig } from '../config.ts';

type PersonConfig = Partial<Pick<QemuConfig, 'user' | 'group' | 'dynamicOwnership'>>;

/** @throws SecurityError for a user or group that there is not */
export function qemuPerson(
  { user, group, dynamicOwnership = true }: PersonConfig = {},
  names: UserNames = readUserNames(),
): Person {
  const ownUid = process.geteuid?.() ?? 0;
  const ownGid = process.getegid?.() ?? 0;
  if (user === undefined && group === undefined) {
    return { uid: ownUid, gids: [ownGid, ...(process.getgroups?.() ?? [])], name: nameOf(ownUid) };
  }
  const uid = user === undefined ? ownUid : resolveUser(user, names);
  const otherwise = user === undefined ? ownGid : (names.user(uid)?.gid ?? uid);
  const gid = group === undefined ? otherwise : resolveGroup(group, names);
  const gids = supplementaryGroups({ uid, gid }, names);
  return { uid, gids, name: names.user(uid)?.name ?? String(uid), ownsFiles: dynamicOwnership && ownUid === 0 };

  function nameOf(id: number): string {
    return names.user(id)?.name ?? userInfo().username;
  }
}
