/** All procedures of the REMOTE program, of all areas. */
import { CONNECT_PROCEDURES } from './connect.ts';
import { DOMAIN_DEVICES_PROCEDURES } from './domain-devices.ts';
import { DOMAIN_EVENT_PROCEDURES } from './domain-events.ts';
import { DOMAIN_LIFECYCLE_PROCEDURES } from './domain-lifecycle.ts';
import { DOMAIN_MIGRATE_PROCEDURES } from './domain-migrate.ts';
import { DOMAIN_SNAPSHOT_PROCEDURES } from './domain-snapshot.ts';
import { DOMAIN_TUNING_PROCEDURES } from './domain-tuning.ts';
import { INTERFACE_PROCEDURES } from './interface.ts';
import { NETWORK_PROCEDURES } from './network.ts';
import { NODE_PROCEDURES } from './node.ts';
import { NODE_DEVICE_PROCEDURES } from './node-device.ts';
import { NWFILTER_PROCEDURES } from './nwfilter.ts';
import { SECRET_PROCEDURES } from './secret.ts';
import { STORAGE_PROCEDURES } from './storage.ts';

export const REMOTE_PROCEDURES = {
  ...CONNECT_PROCEDURES,
  ...NODE_PROCEDURES,
  ...DOMAIN_LIFECYCLE_PROCEDURES,
  ...DOMAIN_DEVICES_PROCEDURES,
  ...DOMAIN_TUNING_PROCEDURES,
  ...DOMAIN_EVENT_PROCEDURES,
  ...DOMAIN_MIGRATE_PROCEDURES,
  ...DOMAIN_SNAPSHOT_PROCEDURES,
  ...NETWORK_PROCEDURES,
  ...STORAGE_PROCEDURES,
  ...SECRET_PROCEDURES,
  ...NODE_DEVICE_PROCEDURES,
  ...INTERFACE_PROCEDURES,
  ...NWFILTER_PROCEDURES,
} as const;
