"""Titles of the tables, and what must be known to read them."""

TITLES = {
    "claim1": "Claim 1: artifacts in the maps and norms of patch tokens",
    "claim2": "Claim 2: where in depth, and in which models, norms grow outliers",
    "claim3": "Claim 3: how alike the neighbours of outlier and of normal tokens are",
    "registers": "Registers: what they change, and what they learn",
    "claim4": "Claim 4: what normal and outlier tokens know of place, pixels and class",
    "sensitivity": "Claim 4: outlier minus normal class accuracy under other recipes of the probe",
    "claim5": "Claim 5: classification with and without registers",
    "kinds": "Kinds of artifacts beside high norms: which of them each backbone has",
    "control": "Phantoms: what was planted, and what the instrument says",
    "discovery": "Object discovery: LOST on patch features",
    "dense": "Dense tasks: linear heads on patch tokens, and how smooth their maps are",
}


NOTES = {
    "claim1": "Norms are L2 norms of patch tokens after the last block, before the final norm. "
    "Rules side by side: above the 98th percentile (2 % of any model by construction), above 150 "
    "(meant for DINOv2-g), above 3 x median, and a mixture of two Gaussians on log-norms. "
    "artifacts: the decision, by none of these rules: yes if some tokens form a mode of their own "
    "above the bulk, each in medians of its own image; share, ratio and cutoff are of the judged "
    "block. norm_over_normal: mean norm of outliers over that of the others. "
    "no: there is no sign of one, and from smallest_ratio x median on one would have been "
    "seen. Nearer to the bulk nobody can tell. position_entropy is 1 "
    "when outliers sit anywhere and 0 when they sit in one place, free of the bias of counting few "
    "(Chao and Jost 2015), with a jackknife over images. attention_norm_auc: how often a patch of "
    "the top 2 % by norm gets more attention of CLS than another patch of its image, 0.5 if not at "
    "all; attention_norm_overlap: how many of them are the top 2 % by attention; both in about "
    "1,000 images. chance: what attention permuted within images gives; other image: what the "
    "places of another image's attention give. attention_excess: attention on the 2 % of patches "
    "that stand out most from the median of the 5 x 5 patches around them. Without CLS there is no "
    "row of it; received: the attention that patches get from all tokens, mean over queries and "
    "heads; pooling: of the latent query that pools; neither compares with cls.",
    "kinds": "Each kind has its own definition, null and answer, on a few hundred images. It "
    "is yes (or no) where its number is at its bound or above (below) with the whole "
    "interval over images, and does not apply where a backbone cannot have it. null: the same "
    "where the kind is absent. Rows of single blocks, and why each answer is what it is, stand in "
    "tables/kinds.csv. sink: heads of which nine queries of ten give one token half of their "
    "attention or more; nop: its value is short, broadcast: what the head writes is of rank one. "
    "fixed-pattern: cosine with the same place of other images above what shuffled places reach "
    "once in a thousand. shift: yes is position, no is content. outlier-use, register-use: 1 - "
    "cosine of the output when they are replaced.",
    "claim2": "Blocks are counted from 1. By the rule of the papers, onset_block is the first from "
    "which on the share above 3 x median stays over the configured minimum up to its peak. other: "
    "a backbone of Figure 4 that the first of them is compared with on the same images, _minus_ in "
    "points of their own patches, _over_ as a ratio.",
    "claim3": "Cosine similarity of patch embeddings (no position) with their up to four "
    "neighbours. outlier: norm above the backbone's 98th percentile, which marks 2 % of the tokens "
    "of any model, with or without artifacts; outlier_3x_median: above 3 x median, empty where "
    "there are none. Read a ratio together with claim 1: where has_artifacts is no, it compares "
    "ordinary tokens, and where position_entropy is low, place and content are confounded. "
    "outlier_judged: by the decision of claim 1, in the block it names. matched: what the same "
    "images and the same places make of tokens that are no outliers (two-way fixed effects; "
    "free_of_place_and_image: how much of who is an outlier these leave open). auc: how often an "
    "outlier is more like its neighbours than a normal token, as they are, or matched: less what "
    "image and place do; it does not saturate where all patches are alike. "
    "The published ratio of 2.5 has no definition; ours is the ratio of the shares of pairs above "
    "a similarity, and of patches by their mean (patch).",
    "claim4": "Linear probes on frozen tokens before the final norm, split by image; normal and "
    "outlier tokens in equal numbers and from the same images, class probes with one token of each "
    "kind an image. Outliers are those of the decision of claim 1, and all tokens are of the block "
    "it names (judged_block); where it is not yes, those above the 98th percentile of the analysed "
    "sample after the last block. normal_same_places: normal tokens drawn where outliers use to "
    "be. over_prior: less what always guessing the commonest place gives. other_dataset: tested on "
    "images of another data set than probes were trained on. saw_labels: the backbone was trained "
    "or tuned with labels of these classes. Features are "
    "standardised by all images but the test images. Pixel errors are in pixels scaled by "
    "ImageNet's mean and deviation; the published L2 error is the squared one. The learning rate "
    "is the best on validation images; n: test images, or tokens where nothing was measured. "
    "Intervals: bootstrap over seeds and test images. chance, commonest, mean patch, random and "
    "best one place: what guessing gives on the same tokens. pixel_explained: what the probe "
    "takes off the mean patch's squared error, in percent: errors of groups compare only so "
    "where one group's patches are plainer. position_confounded: yes if a group's tokens crowd "
    "in so few places (position_entropy) that their position can be guessed without looking: "
    "then a position probe says nothing about local information. What outliers encode: more or "
    "less if the interval of outlier minus normal leaves zero out. Of normal tokens it is also "
    "said how many are over the outlier rule's multiple of their image's median. Phantoms of "
    "content: the planted neuron adds one and the same vector to constant patches and takes "
    "nothing away, so planted outliers should know as much as their patch shows; the clean one has "
    "no mechanism, its outliers are just its 2 % largest tokens.",
    "sensitivity": "Each recipe changes one thing of the study's class probe. Published "
    "differences on DINOv2-g: +3.2 points (darcet-2024), +18.3 (reassessment-2025).",
    "claim5": "own_head: the classifier a backbone came with; published_head: DINOv2's linear "
    "heads on [CLS; mean patch] (4_layers: CLS of the last four blocks); feature sets joined by +: "
    "linear heads trained here by SGD on features of unaugmented images, the learning rate chosen "
    "on held-out training images (learning_rate_at_edge: it is an end of the sweep, a better one "
    "may lie outside); knn: weighted vote of the nearest training images. Natively shown, or "
    "@resize256 (shorter side to 256, central 224), where -official resamples DINOv2's position "
    "embedding as its own code does. Intervals: bootstrap over test images, and over seeds where "
    "there are several; top1_over_seeds: Student's, over seeds alone. A gain is a paired "
    "difference on the same images; registers_help says whether its interval lies above zero "
    "(yes), below (no) or holds it (cannot tell), for these weights: what another training of the "
    "backbone would give, it does not know. Figures of DINOv2's README are the best of its linear "
    "heads, of one or four layers. The main paper does not say at which size it showed images; its "
    "figures stand beside the native one.",
    "registers": "Every register count beside the same backbone without registers, on the same "
    "images: ..._minus_r0 is the mean difference image by image. trained, scratch, finetuned: "
    "registers the weights know. testtime: registers added to finished weights; the few MLP "
    "neurons that write outliers fire there instead (measures/neurons says which and why). random: "
    "the control, as many neurons of the same blocks drawn at random; zeroed: the same neurons "
    "silenced at the patches and moved nowhere. Of these three n counts only images that the "
    "search did not see. judged_share: tokens that are outliers by each backbone's own decision, "
    "in its own block. _of_base: over 3 x the "
    "median of the backbone without registers, the same bar for both. map_entropy: of the "
    "attention row over patches. map_cosine: of two maps of one image, their means removed. "
    "search_kept, unseen_kept: what the class probabilities before and after have in common, or "
    "without a head the cosine of the pooled features, by the number of leading neurons moved "
    "(changed: one more or fewer), on images that chose (search) or chose nothing (unseen); there "
    "beside random, zeroed and what the published search moves by default (Jiang et al. 2025).",
    "dense": "linear: a head trained here on frozen tokens after the final norm (batch norm and "
    "1 x 1 convolution for classes; 256 depth bins from patch and CLS for depth); constant: the "
    "commonest class or the mean depth of the training images. miou: over classes that occur. "
    "rmse, abs_rel, delta1: mean over images, as in BTS and DINOv2; rmse_pooled: over all pixels. "
    "..._minus_r0: the difference from the same backbone without registers on the same images, "
    "means over heads that differ in their seed (heads), whose spread is in the interval where "
    "there are several; registers help: "
    "yes if the interval lies on the better side of zero, no if on the worse, else cannot tell. "
    "features_cached: yes if tokens of fixed crops were taken once, no if crops were drawn anew at "
    "each step. roughness: how far a patch is from the mean of its neighbours, over how far the "
    "median patch is from the image's median token; 0 for smooth maps, about 1 for maps without "
    "any order, more with artifacts; of the tokens, of their directions (length one), and "
    "of their norms. Published NYUd figures come from 24,231 training images; the labelled file "
    "has 795.",
    "discovery": "corloc: share of the images with a box whose object has an IoU of at least 0.5 "
    "with a true box. lost: block, facet, normalisation and bias chosen on held-out images "
    "(lost_held_out, flattered by the choice), reported on the others. lost_k_unbiased and "
    "lost_v_unbiased: last block, as they are, bias 0, which is LOST as published; nothing is "
    "chosen; random ties: the same with ties of the degree, which go to the patch that comes first "
    "row by row, broken by ten random orders of the patches (seed_tied: in how many images the "
    "seed is one of several). only_...: the choice with one hand tied. all_settings: over the "
    "whole sweep. whole_image: the box that ignores the image. The bias is added to the Gram "
    "matrix in units of the median squared norm of an image's patches; Darcet et al. did not "
    "publish theirs, so that their figures cannot be expected back exactly. Images keep their "
    "size, zero-padded to whole patches. Objects marked difficult or truncated count and crowds "
    "do not, as in LOST, unless the set drops them (left_out); images without a box are left out."
    " ..._minus_r0: the difference from the same backbone without registers on the same images, "
    "each under the setting chosen for it; registers help: yes if its interval lies above zero, "
    "no if below.",
    "diagnosis": "judged_block: the last one, or the one with most outliers where the last is not "
    "clear. predicted_by_place: how much of the uncertainty about who is an outlier its place "
    "alone removes (deviance). contrast_auc: how often the neighbours of an outlier are more "
    "alike than those of a normal token, 0.5 if not at all; same_place: among equal places of "
    "different images. first, second: two backbones on the same images, share_... their tokens "
    "over the cutoff.",
    "control": "Phantoms are ViTs with a known answer (tokenscope.phantoms). planted: read off the "
    "pixels, without any network. measured: tokens above the cutoff found, in the block judged. "
    "ratio: their norm in medians of the image. right: item by item; passed, if all are: the "
    "answer, the same for the last block, and where there are high norms, the tokens (up to 1 in "
    "100), their share, the block, its onset, and whether they are about place or content. Of each "
    "kind of artifact known: those planted must be found and no others, but for what hangs on the "
    "ViT that was trained, which is left out; of shift yes is position and no is content.",
}
