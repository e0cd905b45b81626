/** What each kind of interface needs in its `<source>`, as a table. */
import type { InterfaceSource, InterfaceType, NetworkInterface } from '../../../../model/domain/devices/interface.ts';
import { type DomainContext, fault } from '../../context.ts';
import { isPasst } from './attachment.ts';

type SourceField = keyof InterfaceSource &
  ('network' | 'bridge' | 'dev' | 'address' | 'port' | 'name' | 'path' | 'type' | 'mode');

const NEEDED: Readonly<Partial<Record<InterfaceType, readonly SourceField[]>>> = {
  network: ['network'],
  bridge: ['bridge'],
  direct: ['dev'],
  vdpa: ['dev'],
  internal: ['name'],
  client: ['address', 'port'],
  mcast: ['address', 'port'],
  udp: ['address', 'port'],
  server: ['port'],
  vhostuser: ['type', 'path', 'mode'],
};

const MODES: Readonly<Partial<Record<InterfaceType, readonly string[]>>> = {
  direct: ['vepa', 'bridge', 'private', 'passthrough'],
  vhostuser: ['server', 'client'],
};

export function validateInterfaceSource(device: NetworkInterface, context: DomainContext): void {
  const { type, source } = device;
  if (type === 'null' || type === 'vds') {
    fault(context, device, `QEMU has no interfaces of type '${type}'`, '@type');
    return;
  }
  if (type === 'vhostuser' && isPasst(device)) return;
  for (const name of NEEDED[type] ?? []) {
    if (source?.[name] === undefined || source[name] === '') {
      fault(context, device, `an interface of type '${type}' needs <source ${name}=…>`, 'source');
    }
  }
  const modes = MODES[type];
  if (modes !== undefined && source?.mode !== undefined && !modes.includes(source.mode)) {
    fault(context, device, `mode '${source.mode}' is not for type '${type}': use ${modes.join(', ')}`, 'source/@mode');
  }
  if (type === 'udp' && (source?.local?.address === undefined || source.local.port === undefined)) {
    fault(context, device, "an interface of type 'udp' needs <local address= port=/> in its source", 'source');
  }
  if (type === 'vhostuser') validateVhostUser(device, context);
}

function validateVhostUser({ source }: NetworkInterface, context: DomainContext): void {
  if (source?.reconnect?.enabled !== true) return;
  if (source.mode === 'server') {
    fault(context, source, "only a vhost-user source of mode 'client' can reconnect", 'reconnect');
  }
  if ((source.reconnect.timeout ?? 0) === 0) {
    fault(context, source, 'reconnecting needs a timeout of one second or more', 'reconnect/@timeout');
  }
}
