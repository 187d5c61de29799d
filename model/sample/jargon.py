"""The vocabulary of the sample's invented plant, a mill that spins glass from kelp ash.

Every thing has four kinds of names that have nothing in common, on purpose: the catalogue's (in texts), the bench's
(in titles), the floor's (in searches), and a plain description that any reader understands. Nothing but the plant's
own documents and searches says which belong together, so that a model that was never trained on them can't know.
"""

from dataclasses import dataclass

LINES = ("ash kiln", "melt trough", "spinning bay", "cooling run", "winding hall", "ash yard")
"""Sections of the plant; a user's taste is for lines."""


@dataclass(frozen=True, slots=True)
class Thing:
    """A component or a fault under all its names.

    Attributes:
        catalogue: Name in the text of documents.
        bench: Name in titles.
        floor: Names in searches.
        plain: Description in common words.
    """

    catalogue: str
    bench: str
    floor: tuple[str, str]
    plain: str


def _things(table: str) -> tuple[Thing, ...]:
    found = []
    for line in table.strip().splitlines():
        catalogue, bench, floor, plain = (cell.strip() for cell in line.split("|"))
        first, second = floor.split(",")
        found.append(Thing(catalogue, bench, (first.strip(), second.strip()), plain))
    return tuple(found)


COMPONENTS = _things("""
brindel collar    | vask     | tarnlip, ommet      | ring that seals the kiln mouth
quorrel sleeve    | dreb     | hobkin, jessel      | lining of the burner tube
stavimer plate    | nuffet   | gorrey, plindo      | heat shield behind the fire door
ulvane coupling   | chasp    | wimmick, drotha     | joint between blower and kiln
perrish dial      | ogrin    | lattamy, fesk       | kiln temperature gauge
morvant weir      | skellet  | yubbin, crannow     | overflow lip of the melt trough
thessaly spade    | grawn    | pellock, vintra     | stirring blade in the melt
ondric nozzle     | huxby    | tizzard, moolane    | outlet through which molten glass leaves
kessaric bed      | plomb    | snarrow, ebbick     | brick floor under the melt
valtine probe     | iffet    | rudgel, kantle      | sensor for the depth of the melt
farrow spinnet    | twelm    | bozzle, arkady pin  | rotating head that throws the fibre
mirrel carriage   | gaunce   | dobbet, ushlow      | sled that moves the spinning head
eltane orifice    | squib    | nackle, purrow      | tiny hole plate that forms the thread
brascine motor    | hobden   | yarrick, tullow     | drive of the spinning head
corviel shroud    | affle    | minnock, zeld       | draught guard around the fibre
lissom trellis    | bruntle  | cobbard, ickle gate | rack on which fibre cools
dorrance fan      | whiss    | gallop, fennow      | blower that cools the fibre
sarcenet damper   | ploy     | trundick, oshel     | flap that controls cooling air
hexham mister     | drizzet  | sponnet, quay jack  | water spray on the cooling run
talvern belt      | slink    | murdle, havvock     | conveyor under the cooling fibre
ambrose spindle   | kneed    | tocket, brammel     | shaft that carries the bobbin
jorvic traverse   | wend     | lannock, pidge      | guide that lays thread across the bobbin
carrack tensioner | tuggle   | strabby, nolin      | spring arm that keeps thread tight
rosmarin cutter   | snick    | clavvy, dorn hook   | knife that cuts the thread at bobbin change
pallister brake   | haltern  | grobben, wey clamp  | device that stops the winding shaft
gannet hopper     | maw      | bellack, tundish ho | bin that feeds ash into the kiln
strake auger      | wurble   | corrie screw, dag   | screw that carries ash upwards
fulmar sieve      | jiggin   | riddock, shim pan   | vibrating screen that sorts ash
isbell scale      | heft     | ponder, lodkin      | weighing station for ash
tamarack chute    | slype    | gushet, yorrow      | slide between sieve and bin
""")
"""Components, five a line in the order of `LINES`."""

FAULTS = _things("""
morling           | frell    | wimsey, gone soft-eyed  | surface that blisters and peels
dentillation      | nibbing  | hackled, chawed         | worn and chipped edge
ochre bloom       | rusk     | foxed, tea-stained      | brown deposit from hard water
lateral vagrancy  | sidle    | wandersick, crabbing    | drifting slowly out of line
tessitura drop    | slump    | drowsy, flat-noted      | loss of speed under load
cavil resonance   | thrum    | hornet-y, gurning       | vibration at a certain speed
occlusion grade 2 | clag     | bunged, porridged       | blockage by sticky residue
thermal quaver    | flutter  | ague, shivery           | temperature that swings up and down
parasitic arcing  | spritz   | glow-worming, prickly   | small sparks from damaged insulation
seal attrition    | weep     | dribbling, slobbed      | slow leak past a seal
""")
"""Faults; every component has every fault."""
