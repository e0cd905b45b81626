/** What the collector needs to know to remove everything that a guest and its networks can have on the host. */
import { CGROUP_REMOVERS } from '../cgroup/ledger-remover.ts';
import { SCOPE_REMOVERS } from '../cgroup/systemd/ledger-remover.ts';
import { CORE_REMOVERS } from '../core/ledger-removers.ts';
import { MOUNT_REMOVERS } from '../host/mounts.ts';
import { BRIDGE_REMOVERS } from '../network/bridge/bridge-remover.ts';
import { NETWORK_RULE_REMOVERS } from '../network/ledger-removers.ts';
import { SECURITY_REMOVERS } from '../security/ledger-remover.ts';
import { NETWORK_REMOVERS } from './network-program.ts';

export const GUEST_REMOVERS = {
  ...CORE_REMOVERS,
  ...NETWORK_REMOVERS,
  ...BRIDGE_REMOVERS,
  ...NETWORK_RULE_REMOVERS,
  ...CGROUP_REMOVERS,
  ...SCOPE_REMOVERS,
  ...SECURITY_REMOVERS,
  ...MOUNT_REMOVERS,
} as const;
