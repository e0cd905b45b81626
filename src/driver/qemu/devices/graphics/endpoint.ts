/** Where a display listens once everything that the definition leaves open is settled: addresses, ports, sockets. */
import { type Graphics, SPICE_CHANNELS } from '../../../../model/domain/devices/graphics.ts';
import type { QemuConfig } from '../../config.ts';
import type { GraphicsPortRequest, PlanContext } from '../../context.ts';
import { AUTO_PORT } from './defaults.ts';

/** `none`: only clients whose connection is handed over reach it. */
export type Endpoint =
  | { readonly type: 'tcp'; readonly host: string | undefined }
  | { readonly type: 'socket'; readonly path: string }
  | { readonly type: 'none' };

/** What libvirt tries first for each use. */
const FIRST_PORTS: { readonly [U in GraphicsPortRequest['use']]: number } = {
  vnc: 5900,
  'vnc-websocket': 5700,
  spice: 5901,
  'spice-tls': 5902,
  rdp: 3389,
};

/** The place where a server listens. Sockets that it makes are noted among the plan's files. */
export function planEndpoint(graphics: Graphics, context: PlanContext): Endpoint {
  const { config } = context;
  const [listen] = graphics.listens;
  const settings = {
    vnc: { host: config.vncListen, autoSocket: config.vncAutoUnixSocket },
    spice: { host: config.spiceListen, autoSocket: config.spiceAutoUnixSocket },
  } as const;
  const { host, autoSocket } = graphics.type === 'spice' ? settings.spice : settings.vnc;
  switch (listen?.type) {
    case 'none':
      return { type: 'none' };
    case 'socket':
      return socketAt(listen.socket ?? ownSocket(graphics, context), context);
    case 'network':
      return { type: 'tcp', host: listen.address ?? context.lookup.networkAddress?.(listen.network ?? '') ?? host };
    default:
      if (listen?.address === undefined && autoSocket) return socketAt(ownSocket(graphics, context), context);
      return { type: 'tcp', host: listen?.address ?? host };
  }
}

function ownSocket(graphics: Graphics, context: PlanContext): string {
  return `${context.domainDir}/${graphics.type}.sock`;
}

function socketAt(path: string, context: PlanContext): Endpoint {
  context.files.push({ kind: 'socket', path });
  return { type: 'socket', path };
}

/** A port given, or one that the caller finds free. */
export function planPort(
  graphics: Graphics,
  use: GraphicsPortRequest['use'],
  given: number | undefined,
  context: PlanContext,
): number {
  if (given !== undefined && given > 0) return given;
  const index = context.domain.devices?.graphics.indexOf(graphics) ?? 0;
  return context.lookup.graphicsPort?.({ index, use }) ?? FIRST_PORTS[use];
}

/** Which ports a SPICE server on TCP has: given ones, and those that its channels need. */
export function spicePortNeeds(graphics: Graphics, config: QemuConfig): { plain: boolean; tls: boolean } {
  const needs = { plain: isGiven(graphics.port), tls: isGiven(graphics.tlsPort) };
  if (graphics.autoport !== true) return needs;
  const modes = new Map(graphics.channels.map(({ name, mode }) => [name, mode]));
  for (const channel of SPICE_CHANNELS) {
    const mode = modes.get(channel) ?? graphics.defaultMode ?? 'any';
    if (mode !== 'secure') needs.plain = true;
    if (mode === 'secure' || (mode === 'any' && config.spiceTls)) needs.tls = true;
  }
  return needs;
}

function isGiven(port: number | undefined): boolean {
  return port !== undefined && (port > 0 || port === AUTO_PORT);
}
