/** Video cards. */
import type { Video } from '../../../../model/domain/devices/video.ts';
import { deviceFamily } from '../family.ts';
import { videoAddressNeed } from './addresses.ts';
import { fillVideoDefaults } from './defaults.ts';
import { planVideo } from './plan.ts';
import { validateVideo } from './validate.ts';

export const FAMILY = deviceFamily<Video>({
  name: 'video',
  select: (domain) => domain.devices?.videos ?? [],
  fillDefaults: fillVideoDefaults,
  validate: validateVideo,
  addressNeed: videoAddressNeed,
  alias: (_video, index) => `video${index}`,
  plan: planVideo,
});
