/** What libvirt and QEMU refuse of displays. */
import type { Graphics, GraphicsType } from '../../../../model/domain/devices/graphics.ts';
import { hasFeature, hasOption } from '../../capabilities/capabilities.ts';
import { type FeatureName } from '../../capabilities/features.ts';
import { type DomainContext, fault } from '../../context.ts';
import { findAudio, validateAudioReference } from '../audio/index.ts';
import { isTcp } from './defaults.ts';
import { spicePortNeeds } from './endpoint.ts';

/** What QEMU must have for a display; kinds without an entry are not QEMU's. */
const FEATURES: { readonly [T in GraphicsType]?: FeatureName } = {
  sdl: 'display-sdl',
  vnc: 'vnc',
  spice: 'spice',
  'egl-headless': 'display-egl-headless',
  dbus: 'display-dbus',
  rdp: 'display-dbus',
};
/** VNC's password is a DES key. */
const VNC_PASSWORD_MAX = 8;
const VNC_PORT_MIN = 5900;

export function validateGraphics(context: DomainContext): void {
  const all = context.domain.devices?.graphics ?? [];
  const seen = new Set<GraphicsType>();
  for (const graphics of all) {
    if (seen.has(graphics.type)) {
      fault(context, graphics, `there can be only one display of type '${graphics.type}'`, '@type');
    }
    seen.add(graphics.type);
    if (seen.has('egl-headless') || all.some(({ type }) => type === 'egl-headless'))
      validateHeadless(graphics, context);
    validateOne(graphics, context);
  }
}

function validateOne(graphics: Graphics, context: DomainContext): void {
  const { caps } = context;
  const feature = FEATURES[graphics.type];
  if (feature === undefined || !hasFeature(caps, feature)) {
    fault(context, graphics, `${caps.binary} has no display of type '${graphics.type}': choose another`, '@type');
    return;
  }
  validateListens(graphics, context);
  if (graphics.type === 'vnc') validateVnc(graphics, context);
  else if (graphics.type === 'spice') validateSpice(graphics, context);
  else if (graphics.type === 'dbus') validateDbus(graphics, context);
  else if (graphics.type === 'rdp') validateRdp(graphics, context);
  else if (graphics.type === 'egl-headless') validateRenderNode(graphics, context);
}

/** egl-headless draws for displays that cannot draw with OpenGL themselves. */
function validateHeadless(graphics: Graphics, context: DomainContext): void {
  const { type } = graphics;
  if (type !== 'egl-headless' && type !== 'vnc' && type !== 'spice') {
    fault(context, graphics, `display 'egl-headless' goes with vnc or spice, not with ${type}`, '@type');
  } else if (type === 'spice' && graphics.gl?.enable === true) {
    fault(context, graphics, "QEMU has one OpenGL display: remove <gl/> here, or the display 'egl-headless'", 'gl');
  }
}

function validateListens(graphics: Graphics, context: DomainContext): void {
  const [listen] = graphics.listens;
  if (graphics.listens.length > 1)
    fault(context, graphics, 'QEMU takes one <listen> a display: remove the others', 'listen');
  if (listen === undefined) return;
  if (listen.type === 'network' ? listen.network === undefined : listen.network !== undefined) {
    fault(context, listen, "'network' goes with listen type 'network', and is compulsory there", '@network');
  }
  if (listen.type !== 'socket' && listen.socket !== undefined) {
    fault(context, listen, "'socket' goes with listen type 'socket' only", '@socket');
  }
  if ((listen.type === 'socket' || listen.type === 'none') && graphics.type === 'rdp') {
    fault(context, listen, `listen type '${listen.type}' is for vnc and spice, not for rdp`, '@type');
  }
  if (listen.type === 'address' && graphics.listen !== undefined && graphics.listen !== listen.address) {
    fault(context, graphics, `'listen' says ${graphics.listen}, but <listen> says ${listen.address}`, '@listen');
  }
}

function validateVnc(graphics: Graphics, context: DomainContext): void {
  const { port = 0, passwd = '', connected } = graphics;
  if (isTcp(graphics.listens[0]) && graphics.autoport !== true && port < VNC_PORT_MIN) {
    fault(context, graphics, `VNC ports are ${VNC_PORT_MIN} to 65535: give one, or autoport='yes'`, '@port');
  }
  if (Buffer.byteLength(passwd) > VNC_PASSWORD_MAX) {
    fault(context, graphics, `VNC passwords have at most ${VNC_PASSWORD_MAX} characters`, '@passwd');
  }
  if (connected !== undefined && connected !== 'keep') {
    fault(context, graphics, "VNC keeps clients connected on a new password: connected='keep' only", '@connected');
  }
  if (graphics.powerControl !== undefined && !hasOption(context.caps, 'vnc', 'power-control')) {
    fault(context, graphics, `${context.caps.binary} has no VNC power control: remove powerControl`, '@powerControl');
  }
  validateAudioReference(graphics, graphics.audio, context);
}

function validateSpice(graphics: Graphics, context: DomainContext): void {
  const { config } = context;
  const tcp = isTcp(graphics.listens[0]);
  const needs = tcp ? spicePortNeeds(graphics, config) : { plain: true, tls: false };
  if (needs.tls && !config.spiceTls) {
    fault(context, graphics, 'SPICE with TLS is switched off: set spice_tls, or remove the TLS port', '@tlsPort');
  }
  const check = (mode: string | undefined, where: string) => {
    if (mode === 'secure' && !needs.tls)
      fault(context, graphics, `${where} wants TLS, and there is no TLS port`, 'channel');
    if (mode === 'insecure' && !needs.plain) {
      fault(context, graphics, `${where} wants no TLS, and there is a TLS port only`, 'channel');
    }
  };
  check(graphics.defaultMode, 'defaultMode');
  for (const { name, mode } of graphics.channels) check(mode, `channel '${name}'`);
}

function validateDbus(graphics: Graphics, context: DomainContext): void {
  validateAudioReference(graphics, graphics.audio, context);
  const audio = graphics.audio === undefined ? undefined : findAudio(context.domain, graphics.audio.id);
  if (audio !== undefined && audio.type !== 'dbus') {
    fault(context, graphics, `audio ${audio.id} is of type '${audio.type}': a D-Bus display takes 'dbus'`, 'audio/@id');
  }
}

/** The RDP server is a D-Bus client of QEMU. */
function validateRdp(graphics: Graphics, context: DomainContext): void {
  const bus = context.domain.devices?.graphics.find(({ type }) => type === 'dbus');
  if (bus === undefined || bus.p2p === true) {
    fault(context, graphics, "the RDP server gets the picture over D-Bus: add <graphics type='dbus'/>", '@type');
  }
}

function validateRenderNode(graphics: Graphics, context: DomainContext): void {
  if (graphics.gl?.rendernode === undefined || hasFeature(context.caps, 'display-egl-headless-rendernode')) return;
  fault(context, graphics, `${context.caps.binary} takes no render node for egl-headless: remove it`, 'gl/@rendernode');
}
