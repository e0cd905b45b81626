/** A display on D-Bus, the bus of a guest's own that serves it, and the RDP server that is a client of that bus. */
import type { Graphics } from '../../../../model/domain/devices/graphics.ts';
import type { PlanContext } from '../../context.ts';
import type { FileRequest, Part } from '../../plan/parts.ts';
import { audiodevId } from '../audio/index.ts';
import { planPort } from './endpoint.ts';
import { renderNodeOf } from './render-node.ts';

const BUS_DIR_MODE = 0o770;
const BUS_CONFIG_MODE = 0o600;

export function planDbus(graphics: Graphics, context: PlanContext): Part[] {
  const { gl, p2p } = graphics;
  const address = p2p === true ? undefined : busAddress(graphics, context);
  if (p2p !== true && graphics.address === undefined) planBusDaemon(context);
  return [
    {
      kind: 'keyval',
      option: 'display',
      implied: 'type',
      props: {
        type: 'dbus',
        p2p: p2p === true ? true : undefined,
        addr: address,
        gl: gl?.enable,
        rendernode: gl?.enable === true ? renderNodeOf(graphics, context) : gl?.rendernode,
        audiodev: graphics.audio === undefined ? undefined : audiodevId(context.domain, graphics.audio),
      },
    },
  ];
}

/** RDP needs no argument of QEMU's: its server is a process beside it. */
export function planRdp(graphics: Graphics, context: PlanContext): Part[] {
  const { config } = context;
  const bus = context.domain.devices?.graphics.find(({ type }) => type === 'dbus');
  if (bus === undefined) return [];
  const host = graphics.listens[0]?.address ?? config.rdpListen;
  const port = planPort(graphics, 'rdp', graphics.port, context);
  context.helpers.push({
    name: 'qemu-rdp',
    command: context.host.helpers['qemu-rdp']?.path ?? 'qemu-rdp',
    args: [
      `--dbus-address=${busAddress(bus, context)}`,
      'serve',
      `--bind-address=${host.includes(':') ? `[${host}]` : host}:${port}`,
      `--cert=${config.rdpTlsX509CertDir}/server-cert.pem`,
      `--key=${config.rdpTlsX509CertDir}/server-key.pem`,
    ],
  });
  return [];
}

function busAddress({ address }: Graphics, context: PlanContext): string {
  return address ?? unixAddress(context.layout.dbusSocket(context.id, context.name));
}

/** D-Bus addresses have separators of their own: other bytes than these are written as %XX. */
function unixAddress(path: string): string {
  const escaped = path.replace(/[^-\w/.]/gu, (char) =>
    [...Buffer.from(char)].map((byte) => `%${byte.toString(16).padStart(2, '0')}`).join(''),
  );
  return `unix:path=${escaped}`;
}

function planBusDaemon(context: PlanContext): void {
  const socket = context.layout.dbusSocket(context.id, context.name);
  const config = context.layout.dbusConfig(context.id, context.name);
  const files: FileRequest[] = [
    { kind: 'directory', path: socket.slice(0, socket.lastIndexOf('/')), mode: BUS_DIR_MODE, keep: true },
    { kind: 'file', path: config, mode: BUS_CONFIG_MODE, content: busConfig(socket) },
    { kind: 'socket', path: socket },
  ];
  context.files.push(...files);
  context.helpers.push({
    name: 'dbus-daemon',
    command: context.host.helpers['dbus-daemon']?.path ?? 'dbus-daemon',
    args: ['--nofork', '--nopidfile', `--config-file=${config}`],
    readySocket: socket,
  });
}

/** A bus for one guest: whoever may open its socket may do everything. */
function busConfig(socket: string): string {
  return `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>org.libvirt.qemu</type>
  <listen>${unixAddress(socket)}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>
`;
}
