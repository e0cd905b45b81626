/** A VNC server as `-vnc`, and its password as commands: it never stands among the arguments. */
import type { Graphics } from '../../../../model/domain/devices/graphics.ts';
import type { PlanContext } from '../../context.ts';
import type { Part } from '../../plan/parts.ts';
import type { Props } from '../../plan/props.ts';
import { audiodevId } from '../audio/index.ts';
import { planTlsCredentials } from '../tls-credentials.ts';
import { type Endpoint, planEndpoint, planPort } from './endpoint.ts';
import { planKeymap } from './keymap.ts';
import { planPassword } from './password.ts';

const FIRST_DISPLAY_PORT = 5900;
const TLS_CREDENTIALS_ID = 'vnc-tls-creds0';

export function planVnc(graphics: Graphics, context: PlanContext): Part[] {
  const { config } = context;
  const endpoint = planEndpoint(graphics, context);
  const password = graphics.passwd ?? config.vncPassword;
  if (config.vncSasl && config.vncSaslDir !== undefined) context.environment.SASL_CONF_PATH = config.vncSaslDir;
  planPassword('vnc', graphics, password, context);
  const props: Props = {
    vnc: displayOf(graphics, endpoint, context),
    websocket: websocketOf(graphics, endpoint, context),
    share: graphics.sharePolicy,
    'power-control': graphics.powerControl,
    password: password === undefined ? undefined : true,
    'tls-creds': config.vncTls ? TLS_CREDENTIALS_ID : undefined,
    sasl: config.vncSasl ? true : undefined,
    audiodev: audiodevId(context.domain, graphics.audio),
  };
  return [
    ...planTls(context),
    // A path is named, as it could look like another option.
    { kind: 'keyval', option: 'vnc', props, ...(endpoint.type !== 'socket' && { implied: 'vnc' }) },
    ...planKeymap(graphics),
  ];
}

function displayOf(graphics: Graphics, endpoint: Endpoint, context: PlanContext): string {
  switch (endpoint.type) {
    case 'none':
      return 'none';
    case 'socket':
      return `unix:${endpoint.path}`;
    default: {
      const host = endpoint.host ?? '';
      const port = planPort(graphics, 'vnc', graphics.port, context);
      return `${host.includes(':') ? `[${host}]` : host}:${port - FIRST_DISPLAY_PORT}`;
    }
  }
}

function websocketOf(graphics: Graphics, endpoint: Endpoint, context: PlanContext): number | undefined {
  const { websocket = 0 } = graphics;
  if (endpoint.type !== 'tcp' || websocket === 0) return undefined;
  return planPort(graphics, 'vnc-websocket', websocket, context);
}

function planTls(context: PlanContext): Part[] {
  const { config } = context;
  if (!config.vncTls) return [];
  const uuid = config.vncTlsX509SecretUuid;
  return planTlsCredentials(context, {
    id: TLS_CREDENTIALS_ID,
    dir: config.vncTlsX509CertDir,
    endpoint: 'server',
    verifyPeer: config.vncTlsX509Verify,
    keySecret: uuid === undefined ? undefined : { id: `${TLS_CREDENTIALS_ID}-secret0`, uuid },
  });
}
