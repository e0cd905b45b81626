/** A SPICE server as `-spice`, and its password as commands. */
import type { Graphics } from '../../../../model/domain/devices/graphics.ts';
import type { PlanContext } from '../../context.ts';
import type { Part } from '../../plan/parts.ts';
import { formatKeyval, type Props } from '../../plan/props.ts';
import { type Endpoint, planEndpoint, planPort, spicePortNeeds } from './endpoint.ts';
import { planKeymap } from './keymap.ts';
import { planPassword } from './password.ts';
import { renderNodeOf } from './render-node.ts';

export function planSpice(graphics: Graphics, context: PlanContext): Part[] {
  const { config } = context;
  const password = graphics.passwd ?? config.spicePassword;
  if (config.spiceSasl && config.spiceSaslDir !== undefined) context.environment.SASL_CONF_PATH = config.spiceSaslDir;
  planPassword('spice', graphics, password, context);
  const endpoint = endpointProps(graphics, planEndpoint(graphics, context), context);
  const groups: Props[] = [
    endpoint,
    {
      sasl: config.spiceSasl ? true : undefined,
      'agent-mouse': graphics.mouse === undefined ? undefined : graphics.mouse.mode === 'client',
      'disable-ticketing': password === undefined ? true : undefined,
      'x509-dir': endpoint['tls-port'] === undefined ? undefined : config.spiceTlsX509CertDir,
    },
    ...channelProps(graphics),
    featureProps(graphics, context),
    { 'seamless-migration': true },
  ];
  // Channels repeat two keys in any order, which one set of properties cannot hold; each group escapes its values.
  const value = groups
    .map((group) => formatKeyval(group))
    .filter((text) => text !== '')
    .join(',');
  return [{ kind: 'option', option: 'spice', value }, ...planKeymap(graphics)];
}

function endpointProps(graphics: Graphics, endpoint: Endpoint, context: PlanContext): Props {
  switch (endpoint.type) {
    case 'socket':
      return { unix: true, addr: endpoint.path };
    case 'none':
      // QEMU wants a port: 0 opens none.
      return { port: 0 };
    default: {
      const needs = spicePortNeeds(graphics, context.config);
      return {
        port: needs.plain ? planPort(graphics, 'spice', graphics.port, context) : undefined,
        'tls-port': needs.tls ? planPort(graphics, 'spice-tls', graphics.tlsPort, context) : undefined,
        addr: needs.plain || needs.tls ? endpoint.host : undefined,
      };
    }
  }
}

function channelProps(graphics: Graphics): Props[] {
  const modes = [{ name: 'default', mode: graphics.defaultMode }, ...graphics.channels];
  return modes.flatMap(({ name, mode }): Props[] => {
    if (mode === 'secure') return [{ 'tls-channel': name }];
    return mode === 'insecure' ? [{ 'plaintext-channel': name }] : [];
  });
}

function featureProps(graphics: Graphics, context: PlanContext): Props {
  const hasGl = graphics.gl?.enable === true;
  return {
    'image-compression': graphics.image?.compression,
    'jpeg-wan-compression': graphics.jpeg?.compression,
    'zlib-glz-wan-compression': graphics.zlib?.compression,
    'playback-compression': graphics.playback?.compression,
    'streaming-video': graphics.streaming?.mode,
    'disable-copy-paste': graphics.clipboard?.copypaste === false ? true : undefined,
    'disable-agent-file-xfer': graphics.filetransfer?.enable === false ? true : undefined,
    gl: hasGl ? true : undefined,
    rendernode: hasGl ? renderNodeOf(graphics, context) : undefined,
  };
}
