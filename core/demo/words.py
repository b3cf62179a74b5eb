"""The word lists behind the demo sentences.

They are grouped by what makes sense together: each verb names the kinds of things it takes and the kinds of places
where it happens, and each kind of thing has its own adjectives. This file is only data; `grammar.py` uses it.
"""

# name -> the possessive that goes with it
NAMES = {
    **dict.fromkeys("Tom Ben Peter Jack Oscar David Paul Felix Henry Omar Leo Sam Max Martin Noah Ivan".split(), "his"),
    **dict.fromkeys(
        "Anna Lucy Maria Emma Nora Clara Julia Grace Sophie Alice Eva Ruth Mia Sara Helen Rosa".split(), "her"
    ),
}
# pronoun as a subject -> (possessive, whether the verb takes -s)
PRONOUNS = {
    "I": ("my", False),
    "you": ("your", False),
    "he": ("his", True),
    "she": ("her", True),
    "we": ("our", False),
    "they": ("their", False),
}
OBJECT_PRONOUNS = "me you him her us them".split()

# relative -> possessive
RELATIVES = {
    "mother": "her",
    "sister": "her",
    "aunt": "her",
    "grandmother": "her",
    "daughter": "her",
    "father": "his",
    "brother": "his",
    "uncle": "his",
    "grandfather": "his",
    "son": "his",
}
PEOPLE = (
    "man woman boy girl teacher doctor farmer baker nurse pilot painter student sailor gardener librarian "
    "mechanic singer king queen neighbour driver carpenter fisherman writer tailor waiter dancer postman"
).split()
PEOPLE_ADJECTIVES = "old young tall kind tired clever friendly quiet happy brave shy cheerful polite rich poor".split()
GROUPS = (
    "the children",
    "the students",
    "my parents",
    "our neighbours",
    "two girls",
    "three boys",
    "the farmers",
    "your friends",
    "the sailors",
    "her cousins",
    "his brothers",
    "the teachers",
    "many people",
    "the tourists",
    "my sisters",
    "some workers",
    "the old men",
    "the young women",
    "the twins",
    "our friends",
)
JOBS = (
    "teacher doctor farmer baker nurse pilot painter sailor gardener librarian mechanic singer driver "
    "carpenter writer tailor waiter dancer student"
).split()

# kind -> (nouns, adjectives)
THINGS = {
    "text": (
        "book letter story poem newspaper message report postcard magazine novel",
        "long short funny old strange sad beautiful",
    ),
    "note": ("letter story poem message report postcard speech novel", "long short funny strange secret sad"),
    "food": (
        "apple pear orange cake sandwich pie biscuit pancake salad potato carrot pizza",
        "fresh sweet warm small big tasty cold",
    ),
    "drink": ("cup of tea|glass of milk|glass of water|cup of coffee|bottle of juice", ""),
    "clothes": (
        "coat hat scarf shirt dress jacket jumper sock glove skirt",
        "red blue green yellow warm new old woollen black white soft",
    ),
    "object": (
        "lamp clock chair table box basket bag key umbrella mirror candle blanket pillow bottle plate cup spoon",
        "small big old new round heavy broken green brown wooden yellow cheap",
    ),
    "vehicle": ("car bike boat lorry van tractor wagon motorbike", "red blue fast slow old new white big rusty"),
    "motor": ("car lorry van tractor taxi bus", "red blue fast slow old new white big"),
    "animal": (
        "cat dog horse rabbit bird cow goat duck sheep pony kitten puppy",
        "black white brown small big young old hungry friendly lazy grey",
    ),
    "building": ("house shed bridge cottage tower barn cabin farmhouse", "old new small tall white red wooden narrow"),
    "fence": ("fence|wall|gate|garden wall|garden fence", "old new small white high wooden low"),
    "opening": ("door window gate cupboard drawer", "small big old green heavy wooden white"),
    "plant": ("tree flower rose tulip bush", "small young tall pretty lovely"),
    "music": ("song tune melody ballad lullaby", "old sad happy slow quiet new lovely"),
    "instrument": ("piano violin guitar flute drum trumpet", "old new small black golden"),
    "picture": ("picture portrait photo landscape mountain ship", "big small beautiful colourful old strange"),
    "game": ("ball kite puzzle doll balloon", "red blue small new old colourful"),
    "person": (" ".join(JOBS), "old young kind friendly famous clever tall"),
}

# kind -> places
PLACES = {
    "home": (
        "in the kitchen|at home|in the living room|in the bedroom|on the balcony|by the fire|upstairs"
        "|at the table|in the hall|near the window"
    ),
    "nature": (
        "in the garden|in the park|near the river|by the lake|in the forest|on the beach|under the tree"
        "|behind the house|in the field|on the hill|in the snow|in the meadow"
    ),
    "town": (
        "at the market|in the shop|in town|near the station|in the village|at the corner|in the old street"
        "|near the church|in the city|next to the bank"
    ),
    "work": "at school|in the office|in the library|in the workshop|at the museum|in the classroom|in the garage",
    "water": "in the river|in the lake|in the sea|in the cold water|in the pond",
}

# base, third person, past, -ing | kinds of things | kinds of places
TRANSITIVE = """
read reads read reading | text | home nature work
write writes wrote writing | note | home work
buy buys bought buying | food clothes object vehicle plant text instrument game | town
sell sells sold selling | food clothes object vehicle plant animal picture | town
eat eats ate eating | food | home nature work
drink drinks drank drinking | drink | home nature town
cook cooks cooked cooking | food | home
make makes made making | food clothes | home work
wear wears wore wearing | clothes | nature town work
wash washes washed washing | vehicle animal clothes | nature
clean cleans cleaned cleaning | object vehicle building opening | home work
repair repairs repaired repairing | vehicle object instrument fence | work home
paint paints painted painting | picture opening object fence | work home
draw draws drew drawing | animal building | home work nature
carry carries carried carrying | object game text | home town
find finds found finding | object animal text clothes game | nature home town
lose loses lost losing | clothes object game text | town nature
hide hides hid hiding | text object game food | home nature
open opens opened opening | opening | home work
close closes closed closing | opening | home work
drive drives drove driving | motor | town
build builds built building | building fence | nature town
plant plants planted planting | plant | nature
pick picks picked picking | plant food | nature
water waters watered watering | plant | nature
feed feeds fed feeding | animal | nature home
watch watches watched watching | animal vehicle | nature town
see sees saw seeing | animal building vehicle picture person plant | nature town
love loves loved loving | animal music picture person food |
need needs needed needing | clothes object vehicle person drink |
want wants wanted wanting | food drink animal game clothes vehicle |
like likes liked liking | music food picture animal building |
have has had having | animal vehicle building game instrument |
help helps helped helping | person animal | town work nature
meet meets met meeting | person | town work nature
visit visits visited visiting | person building |
sing sings sang singing | music | home nature work
play plays played playing | music | home town
hear hears heard hearing | music animal instrument | nature town
throw throws threw throwing | game | nature
break breaks broke breaking | object opening game | home work
keep keeps kept keeping | text object animal |
bring brings brought bringing | food drink text object game | work
choose chooses chose choosing | clothes food game instrument text | town
"""
# the verbs that a person can do to a person, a pronoun or a name included
NEVER_CONTINUOUS = "see love need want like have hear".split()  # nobody is "needing a coat"
SOCIAL = "see love need help meet visit hear like watch find".split()
# base, third person, past, -ing | kinds of places
INTRANSITIVE = """
sleep sleeps slept sleeping | home nature
wait waits waited waiting | town work home
walk walks walked walking | nature town
sit sits sat sitting | home nature town
live lives lived living | town nature
work works worked working | work town nature
stand stands stood standing | nature town work
run runs ran running | nature town
swim swims swam swimming | water
dance dances danced dancing | home nature town
rest rests rested resting | home nature
play plays played playing | home nature
stay stays stayed staying | home town work
laugh laughs laughed laughing | work home
study studies studied studying | work home
"""
GIVING = """
give gives gave giving
send sends sent sending
show shows showed showing
sell sells sold selling
bring brings brought bringing
lend lends lent lending
"""
# things that do something by themselves: subjects | third person, past | the rest
SCENES = """
the train|the bus|the blue car|the long train | stops, stopped | near the bridge|at the station|\
behind the church|at the corner
the sun|the moon|the pale moon | shines, shone | on the lake|over the hills|through the window|above the village
the rain|the snow|the soft rain | falls, fell | on the roof|in the valley|on the old town|over the fields
the wind|the cold wind | blows, blew | through the trees|over the sea|around the house
the river|the small stream | flows, flowed | through the valley|under the bridge|past the village|to the sea
the ship|the white ship|the old boat | leaves, left | the harbour|the island|the quiet bay
the cup|the round plate|the vase | stands, stood | on the table|in the cupboard|on the shelf
the key|the letter|the red ball|the map | lies, lay | under the chair|on the floor|behind the door|in the drawer
the film|the lesson|the concert|the show | begins, began | at noon|after dinner|very late|in the evening
the bell|the old bell|the phone | rings, rang | in the hall|in the tower|every hour|again
the road|the narrow path|the old street | leads, led | to the village|through the forest|to the castle|along the coast
"""

NOW = (
    "every day|every morning|on Sundays|in the evening|every week|after lunch|at night|on Mondays|before breakfast|"
    "in summer"
)
THEN = (
    "yesterday|last week|last night|this morning|last summer|two days ago|on Friday|a year ago|in the spring|"
    "last Sunday"
)
SOON = "tomorrow|next week|tonight|on Saturday|next year|this afternoon|soon|after school"
ADVERBS = "quietly happily loudly here there again".split()
MODALS = "will can must should may".split()
MOODS = "happy tired hungry angry sad thirsty late busy ill proud lonely nervous ready quiet cold lucky".split()
# things | what they can be
STATES = """
the soup|the coffee|the tea|the bread | hot|cold|good|bitter|sweet
the door|the window|the box|the gate | heavy|old|narrow
the house|the garden|the room|the kitchen|the village | small|big|quiet|empty|beautiful|clean
the book|the story|the film|the song | long|funny|sad|boring|short|famous
the weather|the winter|the night|the morning | cold|warm|beautiful|wet
the car|the bike|the train|the boat | fast|slow|new|old|expensive|small
the shirt|the coat|the dress|the hat | blue|green|dirty|small|expensive|wet
the road|the bridge|the river|the path | long|wide|narrow|dangerous
"""
