/** Smart cards on a CCID reader. */
import type { Smartcard } from '../../../../model/domain/devices/smartcard.ts';
import { addressProps } from '../../addresses/props.ts';
import { hasDevice } from '../../capabilities/capabilities.ts';
import { type DomainContext, fault, type PlanContext } from '../../context.ts';
import type { Part } from '../../plan/parts.ts';
import { chardevId, planChardev } from '../chardev.ts';
import { fillChardevDefaults, validateChardev } from '../chardev-rules.ts';
import { deviceFamily } from '../family.ts';
import { smartcardAddressNeed } from './addresses.ts';

/** Where QEMU's emulated card looks for certificates unless told otherwise. */
const DEFAULT_DATABASE = '/etc/pki/nssdb';
const CERTIFICATES = 3;

export const FAMILY = deviceFamily<Smartcard>({
  name: 'smartcard',
  select: (domain) => domain.devices?.smartcards ?? [],
  fillDefaults: (card) => {
    if (card.mode === 'passthrough' && card.type !== undefined) fillChardevDefaults(card);
  },
  validate: validateSmartcard,
  addressNeed: smartcardAddressNeed,
  alias: (_device, index) => `smartcard${index}`,
  plan: planSmartcard,
});

function validateSmartcard(card: Smartcard, context: DomainContext): void {
  const driver = card.mode === 'passthrough' ? 'ccid-card-passthru' : 'ccid-card-emulated';
  if (!hasDevice(context.caps, driver)) {
    fault(context, card, `this QEMU has no device '${driver}' for smart cards of mode '${card.mode}'`, '@mode');
  }
  if (card.address !== undefined && card.address.type !== 'ccid') {
    fault(context, card, `a smart card takes a ccid address, not '${card.address.type}'`, 'address');
  }
  if (card.mode === 'passthrough') {
    if (card.type === undefined) fault(context, card, 'a smart card of mode passthrough needs a source type', '@type');
    else validateChardev(card, context);
  }
  if (card.mode === 'host-certificates') validateCertificates(card, context);
}

function validateCertificates(card: Smartcard, context: DomainContext): void {
  if (card.certificates.length !== CERTIFICATES) {
    fault(context, card, `mode host-certificates takes three certificates, not ${card.certificates.length}`);
  }
  const { database } = card;
  if (database !== undefined && !database.startsWith('/')) {
    fault(context, card, `database '${database}' is not an absolute path`, 'database');
  }
}

function planSmartcard(card: Smartcard, context: PlanContext): Part[] {
  const alias = card.alias?.name ?? '';
  const rest = { id: alias, ...addressProps(card, context) };
  switch (card.mode) {
    case 'host':
      return [{ kind: 'device', props: { driver: 'ccid-card-emulated', backend: 'nss-emulated', ...rest } }];
    case 'host-certificates': {
      const [cert1, cert2, cert3] = card.certificates;
      const db = card.database ?? DEFAULT_DATABASE;
      const props = { driver: 'ccid-card-emulated', backend: 'certificates', cert1, cert2, cert3, db, ...rest };
      return [{ kind: 'device', props }];
    }
    default: {
      const props = { driver: 'ccid-card-passthru', chardev: chardevId(alias), ...rest };
      return [...planChardev(card, alias, context, { spiceChannel: 'smartcard' }), { kind: 'device', props }];
    }
  }
}
